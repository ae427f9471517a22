// Package virtio is the device's side of virtqueues: split and packed rings (virtio-v1.3 2.7, 2.8) behind one Queue.
//
// A transport (package vhostuser, or another) knows where the rings are and makes a Queue by Activate; a device (package
// blk, or another) owns it from there on. The example is a whole device.
//
// # The life of a buffer
//
//  1. Activate validates a Config (ring extents, alignment, size, base) and makes a Queue, not yet enabled.
//  2. Pending or a kick tells that the driver has made something available.
//  3. Next fetches one Chain: each descriptor is copied out of shared memory once, the copy is checked, addresses are
//     translated. Readable and Writable are two byte streams; where the driver drew descriptor boundaries means nothing.
//  4. The caller works on it. The Token stands for the chain, which may be completed in any order.
//  5. Push writes a used element that the driver cannot see yet.
//  6. Publish makes all pushed elements visible with one store and decides once whether the driver wants to be called.
//  7. EnableKicks, then sleep if nothing is pending; DisableKicks while working.
//  8. Stop, when nothing is in flight, returns the Base from which somebody can go on.
//
// # Who owns what, and who may call
//
// A Queue owns its eventfds and a reference to its memory table until Close; what its chains point to is the guest's. A Chain is
// the caller's, and scratch space: the next Next overwrites it. A Queue belongs to one goroutine, which alone may call its methods. They touch memory that the front-end may truncate
// at any moment: that goroutine has called debug.SetPanicOnFault(true) and defers guestmem.Recover around each batch.
// After such a fault Break the queue; it can still be pushed to, stopped and closed.
//
// # What is trusted
//
// The guest is hostile. Whatever it writes into its rings ends in a *ChainError and a broken Queue at worst, never in a
// panic, an endless loop or an access outside guest memory. The front-end's addresses are checked in Activate,
// SetMemory and SetAddresses.
//
// Nothing in Next, Push, Publish, EnableKicks and DisableKicks allocates, locks or makes a system call, except for the
// write to the call eventfd.
//
// Read next: queue.go (life of a Queue), chain.go (what is checked), split.go and packed.go (the formats), notify.go,
// inflight.go, log.go (what a migration has to know); package virtiotest is the driver's side, for tests.
package virtio
