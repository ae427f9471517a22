package guestmem

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/crashpoint"
)

// Iovecs are handed to the kernel as they are.
var (
	_ [16]byte = [unsafe.Sizeof(Iovec{})]byte{}
	_ [8]byte  = [unsafe.Offsetof(Iovec{}.Len)]byte{}
)

// mapShared maps size bytes of fd.
func mapShared(fd int, offset, size uint64) (uint64, error) {
	// Safe because the kernel chooses the place, so nothing of Go's is replaced; only the integer is kept.
	p, err := unix.MmapPtr(fd, int64(offset), nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_NORESERVE)
	return uint64(uintptr(p)), err
}

// unmap undoes mapShared.
func unmap(addr, size uint64) error {
	// Safe because addr and size are those of a live mapping of ours without any reference left.
	return unix.MunmapPtr(unsafe.Add(unsafe.Pointer(nil), uintptr(addr)), uintptr(size))
}

// hostBytes views n bytes of guest memory.
func hostBytes(addr, n uint64) []byte {
	// Safe because addr and n come from a translation by a Table that the caller holds, and the view does not outlive
	// the copy it is made for.
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), int(n))
}

// PutByte stores one byte at a host address that a translation gave, such as a request's status.
// It may fault: the caller holds a guard (see Recover).
func PutByte(addr uint64, b byte) {
	// Safe because addr comes from a translation by a Table that the caller holds.
	*(*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) = b
	crashpoint.Store()
}

// or32 sets bits of the aligned word at addr, after everything stored before.
func or32(addr uint64, bits uint32) {
	// Safe because addr is 4-aligned and holds a byte of a live DirtyLog, so that all of the word is on a mapped page.
	atomic.OrUint32((*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), bits)
}
