package iouring

import (
	"encoding/binary"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Arena is memory outside the Go heap for what SQEs name: iovecs, timespecs, bounce buffers. It is given out once, at
// start, and freed as a whole; what is never touched costs no memory. Alloc and Close are the owner's; Blocks may be
// used by whoever holds them, until Close.
type Arena struct {
	mem  []byte
	used int
}

// Block is a part of an Arena.
type Block struct {
	mem []byte
}

// NewArena reserves size bytes, rounded up to pages. The pages are zero, are not reserved in swap (MAP_NORESERVE) and
// are left out of core dumps, for bounce buffers hold what guests read and write.
func NewArena(size int) (*Arena, error) {
	if size <= 0 {
		return nil, errors.Errorf("an arena of %d bytes is not possible", size)
	}
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, errors.Wrapf(err, "map an arena of %d bytes", size)
	}
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		_ = unix.Munmap(mem)
		return nil, errors.Wrap(err, "keep an arena out of core dumps")
	}
	return &Arena{mem: mem}, nil
}

// Alloc gives out size bytes whose address is a multiple of align, a power of two.
func (a *Arena) Alloc(size, align int) (Block, error) {
	if size <= 0 || align <= 0 || align&(align-1) != 0 {
		return Block{}, errors.Errorf("cannot allocate %d bytes aligned to %d", size, align)
	}
	pad := int(-(address(a.mem) + uint64(a.used)) & uint64(align-1))
	left := len(a.mem) - a.used
	if pad > left || size > left-pad {
		return Block{}, errors.Errorf("arena of %d bytes is too small: %d used, %d more wanted", len(a.mem), a.used, size)
	}
	start := a.used + pad
	a.used = start + size
	return Block{mem: a.mem[start:a.used:a.used]}, nil
}

// Close unmaps the arena. Nothing in flight may name its memory. A second call does nothing.
func (a *Arena) Close() error {
	mem := a.mem
	a.mem, a.used = nil, 0
	if mem == nil {
		return nil
	}
	return errors.Wrap(unix.Munmap(mem), "unmap an arena")
}

// Addr returns the block's address, for SQEs and iovecs.
func (b Block) Addr() uint64 { return address(b.mem) }

// Bytes returns the block as Go sees it. Index i is at Addr() + i.
func (b Block) Bytes() []byte { return b.mem }

// TimespecSize is the size of struct __kernel_timespec.
const TimespecSize = 16

// PutTimespec encodes d for Timeout as struct __kernel_timespec: two native 64-bit integers.
func PutTimespec(b []byte, d time.Duration) {
	binary.NativeEndian.PutUint64(b[0:8], uint64(d/time.Second))
	binary.NativeEndian.PutUint64(b[8:16], uint64(d%time.Second))
}
