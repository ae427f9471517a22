// Package bench is a load generator for vhost-user-blk back-ends: a native front-end, without a guest and without QEMU,
// that keeps a depth of requests going in each queue and measures how long they take.
//
// Run connects to a socket, any back-end's, and returns a Result. Ceiling runs the same driver loops against a device
// that does nothing: what comes out is how fast the generator itself is, and figures near it say nothing about a
// back-end.
//
// # A queue's loop
//
//	      ┌──────────── refill: the slot gets its next request ◄────┐
//	      ▼                                                         │
//	Driver.Add … Publish (kick if the device wants it)              │
//	      │                                                         │
//	      └──► Driver.Reap, polling or asleep on the call eventfd ──┘ check the status, record the latency
//
// # Who owns what
//
// Each queue has a loop in a goroutine of its own, locked to its thread and pinned to a CPU when Config.CPUs says so.
// The loop alone touches its Driver, its slots and its histogram; Run reads them when the loop has ended. The loop
// neither allocates nor locks: what it needs is made before the first request.
//
// The first queue's loop also reads a Meter of the back-end's process at both ends of its measured part, for the CPU time.
//
// # What is trusted
//
// The back-end is measured, not trusted: completions are checked by package virtiotest, every status byte is looked at,
// and a back-end that does not answer ends the run after Config.Patience.
//
// Read next: run.go, then loop.go.
package bench
