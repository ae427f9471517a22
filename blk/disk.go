package blk

import (
	"math/bits"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/guestmem"
)

// Disk is what a device stores on. There are three kinds: a RingDisk, on which workers do I/O through their io_uring; an
// InlineDisk, which completes each request at once in the worker; a FuncDisk, which is plain Go and may block. A Disk is
// shared by all workers.
type Disk interface {
	// Info describes the Disk; the answer does not change while a device uses it, its Size apart: see Device.Resize.
	// Any goroutine may call it. It must not block: whoever asks may hold a lock.
	Info() DiskInfo
	// Close releases the Disk and its locks. No device uses it any more.
	Close() error
}

// RingDisk is a Disk behind a descriptor: a file or a block device.
type RingDisk interface {
	Disk
	// FD is the descriptor that requests are submitted on.
	FD() int
}

// InlineDisk is a Disk that serves a request without ever blocking: in memory, or nowhere at all. Workers call it
// concurrently, with ranges that lie inside the Disk. Its access to guest memory may fault: the caller holds the guard
// (guestmem.Recover).
type InlineDisk interface {
	Disk
	// Read fills the memory of dst, in order, from byte off on.
	Read(dst []guestmem.Iovec, off int64)
	// Write stores the memory of src, in order, from byte off on.
	Write(src []guestmem.Iovec, off int64)
	// Zero makes n bytes from off on read as zeros; with discard they may be forgotten as well.
	Zero(off, n int64, discard bool)
}

// DiskInfo describes a Disk.
type DiskInfo struct {
	Name string // for messages: a path, or "null:1073741824"
	Size int64  // bytes

	ReadOnly bool
	// VolatileCache: completed writes may be lost at a power cut until fdatasync. False for a device whose
	// queue/write_cache says "write through".
	VolatileCache bool

	// NoDsync: RWF_DSYNC does not make a write stable here, as on a FUSE file whose server negotiated FUSE_ASYNC_DIO
	// (seen with Linux 6.18). Write-through then takes an fdatasync.
	NoDsync bool

	// InMemory: nothing but memory stands behind the file (tmpfs), so that a worker may read and write it by itself.
	InMemory bool

	// OffsetAlign is the unit, in bytes and a power of two, in which direct I/O addresses the Disk (STATX_DIOALIGN's
	// stx_dio_offset_align): offsets and lengths are multiples of it, and so is Size. 0 or 1: any.
	OffsetAlign uint32
	// MemAlign is the alignment, in bytes and a power of two, of memory for direct I/O (stx_dio_mem_align). 0 or 1: any.
	MemAlign uint32

	// DiscardGranularity is the unit, in bytes, in which the Disk can forget data; 0: it cannot.
	DiscardGranularity uint32
	// Block: a block device, on which discards that punch holes become zeroes.
	Block bool
}

// validate refuses what no Disk can be: the Disk is somebody's own, and a range is checked against its Size alone.
func (i *DiskInfo) validate() error {
	switch {
	case i.Size <= 0:
		return errors.Errorf("Disk %q says that it has %d bytes", i.Name, i.Size)
	case bits.OnesCount32(i.OffsetAlign) > 1 || bits.OnesCount32(i.MemAlign) > 1:
		return errors.Errorf("Disk %q says that it is aligned to %d bytes, its memory to %d: take powers of two", i.Name, i.OffsetAlign, i.MemAlign)
	case i.Size%int64(max(i.OffsetAlign, 1)) != 0:
		return errors.Errorf("Disk %q says that it has %d bytes in units of %d, which is not a whole number of them", i.Name, i.Size, i.OffsetAlign)
	}
	return nil
}
