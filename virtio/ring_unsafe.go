package virtio

import (
	"sync/atomic"
	"unsafe"

	"github.com/vublk/vublk/internal/crashpoint"
)

// Ring memory is addressed by integers (see guestmem) and accessed only here. What the other side may be writing at the
// same time is accessed atomically; plain stores are published by a later atomic one. Go's atomics are sequentially
// consistent, so an atomic store followed by an atomic load needs no fence between them, on arm64 neither (STLR, LDAR).

var _ [descriptorSize]byte = [unsafe.Sizeof(descriptor{})]byte{}

// load16 loads the halfword at addr, which is 2-aligned. Go has no 16-bit atomics: it loads the word around it.
func load16(addr uint64) uint16 {
	// Safe because the aligned word never leaves the page, and the page is mapped: ring extents are checked.
	p := (*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr&^3)))
	return uint16(atomic.LoadUint32(p) >> ((addr & 2) * 8))
}

// load32 loads the word at addr, which is 4-aligned.
func load32(addr uint64) uint32 {
	// Safe because addr lies in a checked ring extent with checked alignment.
	return atomic.LoadUint32((*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))))
}

// load64 loads the doubleword at addr, which is 8-aligned.
func load64(addr uint64) uint64 {
	// Safe because addr lies in a checked ring extent with checked alignment.
	return atomic.LoadUint64((*uint64)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))))
}

// loadDescriptor copies a descriptor of a ring or direct table: each word is loaded exactly once.
func loadDescriptor(addr uint64) descriptor {
	return descriptor{addr: load64(addr), word: load64(addr + 8)}
}

// store32 stores the word at addr, 4-aligned, after everything stored before.
func store32(addr uint64, v uint32) {
	// Safe because addr lies in a checked ring extent with checked alignment.
	atomic.StoreUint32((*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), v)
	crashpoint.Store()
}

// store64 stores the doubleword at addr, 8-aligned, after everything stored before.
func store64(addr, v uint64) {
	// Safe because addr lies in a checked ring extent with checked alignment.
	atomic.StoreUint64((*uint64)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), v)
	crashpoint.Store()
}

// put16 stores plainly: avail_event's neighbour is not ours, so the store may not be widened to an atomic one.
func put16(addr uint64, v uint16) {
	// Safe because addr lies in a checked ring extent.
	*(*uint16)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) = v
	crashpoint.Store()
}

// put32 stores plainly, to be published by a later store32.
func put32(addr uint64, v uint32) {
	// Safe because addr lies in a checked ring extent.
	*(*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) = v
	crashpoint.Store()
}

// put64 stores plainly, to be published by a later store64.
func put64(addr, v uint64) {
	// Safe because addr lies in a checked ring extent.
	*(*uint64)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) = v
	crashpoint.Store()
}

// tableBytes views private descriptors as the bytes that an indirect table is copied into.
func tableBytes(t []descriptor) []byte {
	// Safe because it is Go memory of exactly that size without pointers in it.
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t))), len(t)*descriptorSize)
}
