package blk

import (
	"fmt"
	"sync/atomic"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/virtio/guestmem"
)

// memGrain is the unit, in bytes, in which a Mem remembers what was written.
const memGrain = 64 << 10

// Mem is a Disk in this process's memory. It forgets everything when the process ends.
type Mem struct {
	data []byte
	// written has a bit for each grain that was ever written to. The others read as zeros without a look at their pages, each
	// of which would cost a page fault at first and a translation by the page tables later. A bit is never taken back: a
	// write that runs at the same time would have to know.
	written []atomic.Uint64
}

// NewMem makes a Mem of size bytes, all zero; pages that are never written cost nothing. An error is the kernel's (mmap(2)):
// no bytes at all, or more than it gives.
func NewMem(size int64) (*Mem, error) {
	data, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, errors.Wrapf(err, "map %d bytes for a store in memory", size)
	}
	grains := (size + memGrain - 1) / memGrain
	return &Mem{data: data, written: make([]atomic.Uint64, (grains+63)/64)}, nil
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
	if m.untouched(off, int64(guestmem.TotalLen(dst))) {
		guestmem.ZeroOut(dst)
		return
	}
	guestmem.CopyOut(dst, m.data[off:])
}

// untouched tells whether nothing was ever written to n bytes from off on.
func (m *Mem) untouched(off, n int64) bool {
	for g := off / memGrain; g*memGrain < off+n; g++ {
		if m.written[g/64].Load()&(1<<(g%64)) != 0 {
			return false
		}
	}
	return true
}

// touch notes a write of n bytes from off on. It comes before the bytes.
func (m *Mem) touch(off, n int64) {
	for g := off / memGrain; g*memGrain < off+n; g++ {
		if word, bit := &m.written[g/64], uint64(1)<<(g%64); word.Load()&bit == 0 {
			word.Or(bit)
		}
	}
}

// Write implements InlineDisk.
func (m *Mem) Write(src []guestmem.Iovec, off int64) {
	m.touch(off, int64(guestmem.TotalLen(src)))
	guestmem.CopyIn(m.data[off:], src)
}

// Zero implements InlineDisk.
func (m *Mem) Zero(off, n int64, discard bool) {
	if m.untouched(off, n) {
		return
	}
	part := m.data[off : off+n]
	if lo, hi := roundUp(off, pageSize), roundDown(off+n, pageSize); discard && lo < hi {
		if unix.Madvise(m.data[lo:hi], unix.MADV_DONTNEED) == nil { // anonymous memory: reads as zeros again
			clear(m.data[off:lo])
			part = m.data[hi : off+n]
		}
	}
	clear(part)
}
