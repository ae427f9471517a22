package bench

import "unsafe"

// word returns the word at b's begin.
func word(b []byte) *uint32 {
	// Safe because b is at least 4 bytes of a ring, whose parts are all aligned to 4.
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(b[:4])))
}

// long returns the doubleword at b's begin.
func long(b []byte) *uint64 {
	// Safe because b is at least 8 bytes of a descriptor, on one of its 8-aligned halves.
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(b[:8])))
}
