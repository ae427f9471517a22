package blk

import (
	"fmt"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/virtio/guestmem"
)

// Mem is a Disk in this process's memory. It forgets everything when the process ends.
type Mem struct{ data []byte }

// NewMem makes a Mem of size bytes, all zero; pages that are never written cost nothing.
func NewMem(size int64) (*Mem, error) {
	data, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, errors.Wrapf(err, "map %d bytes for a store in memory", size)
	}
	return &Mem{data: data}, nil
}

// Info implements Disk.
func (m *Mem) Info() DiskInfo {
	size := int64(len(m.data))
	return DiskInfo{Name: fmt.Sprintf("mem:%d", size), Size: size, OffsetAlign: 1, MemAlign: 1, DiscardGranularity: pageSize}
}

// Close implements Disk.
func (m *Mem) Close() error {
	data := m.data
	m.data = nil
	if data == nil {
		return nil
	}
	return errors.Wrap(unix.Munmap(data), "unmap a store in memory")
}

// Read implements InlineDisk.
func (m *Mem) Read(dst []guestmem.Iovec, off int64) {
	guestmem.CopyOut(dst, m.data[off:])
}

// Write implements InlineDisk.
func (m *Mem) Write(src []guestmem.Iovec, off int64) {
	guestmem.CopyIn(m.data[off:], src)
}

// Zero implements InlineDisk.
func (m *Mem) Zero(off, n int64, discard bool) {
	part := m.data[off : off+n]
	if lo, hi := roundUp(off, pageSize), roundDown(off+n, pageSize); discard && lo < hi {
		if unix.Madvise(m.data[lo:hi], unix.MADV_DONTNEED) == nil { // anonymous memory: reads as zeros again
			clear(m.data[off:lo])
			part = m.data[hi : off+n]
		}
	}
	clear(part)
}
