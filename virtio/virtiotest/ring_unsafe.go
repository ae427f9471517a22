package virtiotest

import "unsafe"

// addressOf returns where b lies.
func addressOf(b []byte) uint64 {
	// Safe because b is a mapping, which does not move; only the integer is kept.
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// word returns the word at addr.
func word(addr uint64) *uint32 {
	// Safe because addr, 4-aligned, lies in a ring that NewDriver has allocated.
	return (*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr)))
}

// long returns the doubleword at addr.
func long(addr uint64) *uint64 {
	// Safe because addr, 8-aligned, lies in a ring or table that NewDriver has allocated.
	return (*uint64)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr)))
}

// put16 stores plainly, to be published by a later store.
func put16(addr uint64, v uint16) {
	// Safe because addr, 2-aligned, lies in a ring that NewDriver has allocated.
	*(*uint16)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) = v
}

// put64 stores plainly, to be published by a later store.
func put64(addr, v uint64) {
	// Safe because long is.
	*long(addr) = v
}
