// Package driver is a guest's block driver for the proofs: it makes virtio-blk requests on a queue of a front-end, and
// keeps account of what the disk owes for the answers.
//
// A Queue (queue.go) has slots, each with memory for one request in flight: Submit makes a request available, Next waits
// for the completion of any, Do is both. What comes back is checked: a completion of something that is not in flight, a
// status that was never written, a length that cannot be, all are errors.
//
// A Ledger (ledger.go) numbers the writes of each sector. A sector's content (sector.go) names the sector and the number,
// again and again: lost, torn, stale and misplaced writes can all be told from it.
//
//	promise: sector n holds at least write k, because a FLUSH that began after k's completion was answered OK
//
// A Turn (turn.go) tells how long a back-end has had for a request, kills apart.
//
// A Queue belongs to one goroutine. A Ledger may be used by any number, as long as no two writes of a sector are in flight
// at the same time.
//
// test/native's pump is not this: its subject is how data lies in memory, each buffer between guards.
package driver
