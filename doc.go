// Package vublk is the root of a vhost-user-blk back-end: the process that gives virtual machines their disks.
//
// The program is cmd/vublk. Programs that embed a part of it import the public packages:
//
//   - blk: virtio-blk devices, their Disks, and the workers that serve them
//   - vhostuser: sessions of the vhost-user protocol
//   - virtio: split and packed virtqueues, guest memory
//   - iouring: the kernel's submission and completion rings
//
// docs/architecture.md shows how they hang together.
package vublk
