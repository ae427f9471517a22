package guestmem

import "github.com/pkg/errors"

// Preallocated, so that a hostile guest cannot make the data path allocate.
var (
	// ErrUnmapped tells that an address range is not, or not wholly, guest memory.
	ErrUnmapped = errors.New("address outside guest memory")
	// ErrTooManySegments tells that a translation did not fit into the iovecs given.
	ErrTooManySegments = errors.New("more segments than fit")
)

// GPA is a guest-physical address: what descriptors hold.
type GPA uint64

// FrontendVA is a virtual address of the front-end's process ("user address"): what ring addresses are given in.
type FrontendVA uint64

// Iovec is struct iovec (readv(2)) on a 64-bit machine, with the host address as an integer.
type Iovec struct {
	Base, Len uint64
}

// TotalLen sums the lengths of v.
func TotalLen(v []Iovec) uint64 {
	var n uint64
	for i := range v {
		n += v[i].Len
	}
	return n
}

// Advance drops n bytes from the front of v in place: it shortens the first element that stays. It returns the rest,
// which begins with a byte to transfer: empty elements in front are dropped too.
func Advance(v []Iovec, n uint64) []Iovec {
	for len(v) > 0 && n >= v[0].Len {
		n -= v[0].Len
		v = v[1:]
	}
	if len(v) > 0 {
		v[0].Base += n
		v[0].Len -= n
	}
	return v
}
