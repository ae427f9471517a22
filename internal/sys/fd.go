package sys

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// FD is a file descriptor with exactly one owner, who closes it. The zero value is not usable: see NewFD.
type FD struct {
	n int
}

// NewFD takes ownership of descriptor n.
func NewFD(n int) *FD { return &FD{n: n} }

// Int returns the descriptor, or -1 after Close or Disown and for a nil FD.
func (f *FD) Int() int {
	if f == nil {
		return -1
	}
	return f.n
}

// Dup returns a second descriptor of the same open file description (fcntl(2), F_DUPFD_CLOEXEC).
func (f *FD) Dup() (*FD, error) {
	n, err := unix.FcntlInt(uintptr(f.Int()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrap(err, "duplicate a descriptor")
	}
	return NewFD(n), nil
}

// Disown gives the descriptor away: the caller owns the number that it returns.
func (f *FD) Disown() int {
	if f == nil {
		return -1
	}
	n := f.n
	f.n = -1
	return n
}

// Close closes the descriptor; a second call, and a call on a nil FD, do nothing.
func (f *FD) Close() error {
	n := f.Disown()
	if n < 0 {
		return nil
	}
	return errors.Wrap(unix.Close(n), "close a descriptor")
}
