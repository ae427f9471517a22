package guestmem

import "github.com/vublk/vublk/internal/crashpoint"

// CopyIn copies the byte stream src from guest memory to dst and returns how many bytes fitted or were there.
// It may fault: the caller holds a guard (see Recover).
func CopyIn(dst []byte, src []Iovec) int {
	done := 0
	for _, v := range src {
		n := min(uint64(len(dst)-done), v.Len)
		if n == 0 {
			continue
		}
		done += copy(dst[done:], hostBytes(v.Base, n))
	}
	return done
}

// CopyOut copies src to the byte stream dst in guest memory and returns how many bytes fitted or were there.
// It may fault: the caller holds a guard (see Recover).
func CopyOut(dst []Iovec, src []byte) int {
	done := 0
	for _, v := range dst {
		n := min(uint64(len(src)-done), v.Len)
		if n == 0 {
			continue
		}
		done += copy(hostBytes(v.Base, n), src[done:])
		crashpoint.Store()
	}
	return done
}

// ZeroOut fills the byte stream dst in guest memory with zeros.
// It may fault: the caller holds a guard (see Recover).
func ZeroOut(dst []Iovec) {
	for _, v := range dst {
		clear(hostBytes(v.Base, v.Len))
		crashpoint.Store()
	}
}
