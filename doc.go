// Package vublk gives virtual machines disks that are made in Go: it is a vhost-user-blk back-end to embed. The program
// `vublk` (cmd/vublk) serves files and block devices; import this package to serve a Disk of your own, or to have disks
// in a process that does other things as well.
//
// # A disk of one's own
//
// Whatever implements [FuncDisk] is a disk: six methods in plain Go, which may block. [ListenAndServe] has QEMU, libvirt,
// cloud-hypervisor and others find it at a Unix socket:
//
//	err := vublk.ListenAndServe(ctx, "/run/vm1.sock", disk, vublk.Options{})
//
// It returns when ctx has ended: requests in flight are answered then, and everything that the guest was told to be written
// is flushed. examples/customdisk is a whole program of this kind, an encrypted disk in a module of its own; see there
// for QEMU's command line. The guest's memory must be shared (memory-backend-memfd with share=on).
//
// Files and block devices need no methods: [OpenFile] makes a Disk on which the kernel reads and writes guest memory
// directly (io_uring, O_DIRECT). [blk.NewMem] and [blk.NewNull] are Disks in memory, and without content.
//
// # Many disks
//
// A [Server] serves any number of Disks on a few threads, its workers. [Server.Listen] and [Server.Serve] add an [Export],
// which tells its [State] and its [Stats], follows a Disk that has changed its size ([Export.Resize]) and ends by
// [Export.Close].
//
// # Who owns what
//
// A Disk is the caller's, who closes it after its export has ended (ListenAndServe has returned, [Export.Done] is closed).
// A Disk has one export at a time, unless all its exports are read-only. A listener is the export's from the call on.
// The Server owns threads, rings and sessions, and Close ends them.
//
// Any goroutine may call any function and method of this package. A Disk's methods are called by goroutines of the export,
// several at a time, on ranges that lie inside the Disk and on ordinary memory, which is the method's until it returns. One
// that panics ends the process, as everywhere in Go. One that never returns keeps its request in flight for ever, and Close
// waits for it: [Server.Pending] names it. So let a Disk that may hang, as on a network, bound its calls by itself.
//
// Workers are threads that Go's scheduler does not take away: give it some more for the rest of the program,
//
//	runtime.GOMAXPROCS(workers + 3)
//
// or a worker that comes back from the kernel waits milliseconds for its turn when all others are busy.
//
// # What is trusted
//
// The embedding program is. Nothing that a guest or its front-end writes is: a guest that breaks the rules loses the queue
// on which it did, a front-end loses its connection, and no Disk is asked for anything outside its size. The mode of
// a socket's file decides who may be a front-end, who then gets the disk: the umask when the socket is made, and the
// directory's mode. An error of a Disk is IOERR for the guest; the first one is logged, all are counted.
//
// What the guest may believe of a completed write is decided by the Disk's DiskInfo.VolatileCache and [Options].Cache, as
// docs/durability.md says. Images that OpenFile opened are locked in QEMU's scheme while a front-end uses them, or none
// has come yet; in between they are free for others, which a live migration needs.
//
// A guest survives the death of the process when its front-end can reconnect (reconnect-ms in QEMU): the next process
// that serves the same disk at the same socket completes what was in flight.
//
// # Errors
//
// What a caller can tell apart, by errors.As or errors.Is:
//
//   - [*OptionError]: a field of Options or ServerOptions is wrong, or two exports contradict each other
//   - *iouring.UnsupportedError: this kernel or a sandbox does not let the process use io_uring
//   - [*blk.LockedError]: another process has the image, and who
//   - vhostuser.ErrInUse, vhostuser.ErrNotSocket: the socket cannot be had
//   - [ErrClosed], [ErrNotServing]: too late
//
// The errors of sessions are not returned: they are logged, the export listens again.
//
// # Where to read next
//
// Package blk: Disks and devices. Package vhostuser: sessions, for devices that are no disks, too. Packages virtio and
// virtio/guestmem: rings, and the guest's memory. Package iouring. They are public, and docs/architecture.md shows how they
// hang together; vhostuser/vhostusertest and virtio/virtiotest are the other side of each, for tests.
package vublk
