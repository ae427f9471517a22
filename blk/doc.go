// Package blk is a virtio-blk device: block requests, the Disks they are done on, and the workers that do them.
//
// # How to use it
//
// Package vublk, the root, does all this for a Disk at a vhost-user socket. By hand:
//
//	pool, err := blk.NewPool(blk.PoolOptions{})             // threads, one for each CPU; one Pool a process
//	disk, err := blk.OpenFile(ctx, path, blk.FileOptions{}) // or NewMem, NewNull, a FuncDisk of one's own
//	device, err := pool.NewDevice(disk, blk.DeviceOptions{})
//	session := vhostuser.NewSession(conn, device, vhostuser.Options{})
//	err = session.Serve(ctx)                                // drives the device until the front-end leaves
//	err = device.Flush()                                    // what the guest was told to be written
//	err = device.Close()                                    // then the Disk, then the Pool
//
// A Device implements vhostuser.Device, and this package knows nothing of vhost-user: any transport may drive it by the same
// methods, as the example does. DeviceOptions.Fail is how it tells its session that guest memory is gone.
//
// # Who owns what, and who may call
//
// A Pool owns its workers, a Device its queues, from StartQueue on. Disks are the caller's. Device methods are called by one
// goroutine, the session's, unless their comment says that any may. A Pool's may be called by any.
//
// A worker is one goroutine on its own OS thread, never the process's first. It alone touches its io_uring, its slots and the
// queues placed on it: no mutex, no channel, no allocation and no log line per request. Control work reaches it as a closure
// (mailbox.go), other workers as fixed-size messages (inbox.go): each device has a home worker that decides flushes and range locks
// for all. A queue whose worker has too much to do moves to another one when nothing of it is in flight (load.go,
// balance.go, move.go). The capacity is an atomic that any goroutine may change (resize.go). A FuncDisk's calls run on
// goroutines of their own (func.go).
//
// # What is trusted
//
// Nothing that a guest wrote: lengths, sectors and segments are checked after they were copied. A fault of the guest's
// memory (a front-end that truncates it) breaks the queue and ends the session, not the process. Disks may fail, be
// short, be slow or hang; the guest is told, and never OK for less than it asked.
//
// # Life of a request
//
//  1. The driver publishes a chain and kicks. The kick eventfd is polled on the worker's io_uring, so a worker has one
//     place to sleep (kick.go), and a polling window before it does (turn.go, poll.go).
//  2. The worker takes a slot and the queue's next chain, whose descriptors virtio has copied and checked (worker.go).
//  3. The chain becomes a request: header, data, status, whatever its framing (request.go).
//  4. The request is checked against the device: type, range, block size, read-only (begin.go).
//  5. A read or write goes to the Disk straight from or into guest memory (submit.go). Memory that does not suit direct
//     I/O bounces, a write that covers a unit of the Disk in part reads, modifies and writes it under a range lock
//     (bounce.go, ranges.go). A legacy barrier waits for all others (barrier.go). Discards and zeroes become fallocate
//     (segments.go), a FLUSH joins an fdatasync (flush.go).
//  6. One io_uring_enter submits what the turn has gathered, and sleeps if there is nothing else to do (turn.go).
//  7. The completion is checked: less than asked goes on, EAGAIN waits, an error becomes IOERR (complete.go, retry.go).
//  8. The status byte, the used ring and at most one call per queue and batch tell the driver (publish.go). While the
//     guest migrates, what was written of its memory is marked in a log (dirty.go).
//
// Read next: Disk and Device, then worker.go and the files in the order above. docs/architecture.md shows the whole house,
// docs/durability.md what a completed write is worth.
package blk
