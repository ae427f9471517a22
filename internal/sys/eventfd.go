package sys

import (
	"encoding/binary"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// one is the counter increment that Signal writes: a u64 in native byte order (eventfd(2)).
var one = binary.NativeEndian.AppendUint64(nil, 1)

// EventFD makes a non-blocking, close-on-exec eventfd with counter 0.
func EventFD() (*FD, error) {
	n, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Wrap(err, "create an eventfd")
	}
	return NewFD(n), nil
}

// Signal adds 1 to the counter of eventfd fd. A full counter is a success: the reader has been told already.
// It does not allocate.
func Signal(fd int) error {
	for {
		_, err := unix.Write(fd, one)
		switch err {
		case nil, unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
}

// Drain reads and clears the counter of eventfd fd; 0 when it was not signalled.
func Drain(fd int) (uint64, error) {
	var b [8]byte
	for {
		_, err := unix.Read(fd, b[:])
		switch {
		case err == nil:
			return binary.NativeEndian.Uint64(b[:]), nil
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		case !errors.Is(err, unix.EINTR):
			return 0, errors.Wrap(err, "read an eventfd")
		}
	}
}
