// Package durability proves what a vublk device promises about power cuts, in one process.
//
// A device of package blk serves a Disk with a volatile cache (disk.go) to a driver on virtqueues (load.go). The Disk
// holds every call until the driver's seeded dice release it, so that calls end in any order, and records each write,
// zero, discard and flush with the ticks of a logical clock. The driver records on the same clock when it made a request
// available and when it saw its completion (history.go): from that alone, never from what the device knows, follows what
// was promised at any moment. Then the power is cut before every call that began or ended, with every subset of the
// writes that were not stable (all of them up to a bound, chosen ones beyond), and torn at sectors; what is left on the
// medium must be what was promised, or newer (check.go).
//
//	invariant                                                        where
//	I1 a completed FLUSH covers what completed before it came        history.go promised, check.go cut
//	I2 write-through: what has completed is stable                   the same
//	I3 writeback 1 → 0: what had completed is stable                 the same
//	I4 a failed flush: IOERR to all who joined it, and to all later  check.go checkSticky, cut
//	I5 discards and zeroes like writes                               the same as I1-I3
//	I7 never OK for less than was asked                              check.go checkAnswers, load.go checkRead
//
// Barriers (the legacy flag) count as a FLUSH of what came before, and are stable themselves.
//
// Repeating a run: -seed=N runs each configuration once with that seed, which each line and each loss names. The requests
// follow from the seed, and so do the dice; how many of their throws pass while the device's threads are at work does
// not, so a rare loss may take -count. The tests named TestFinds… break something on purpose and demand that the losses are found.
//
// A run, its driver and its Disk's release belong to one goroutine; the Disk is called by those of the device.
//
// Read next: disk.go, history.go, check.go, load.go.
package durability
