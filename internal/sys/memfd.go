package sys

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Memfd makes an anonymous file of size bytes (memfd_create(2)), close-on-exec, to which seals may be added.
func Memfd(name string, size int64) (*FD, error) {
	n, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, errors.Wrapf(err, "create memfd %q", name)
	}
	if err := unix.Ftruncate(n, size); err != nil {
		_ = unix.Close(n)
		return nil, errors.Wrapf(err, "size memfd %q to %d bytes", name, size)
	}
	return NewFD(n), nil
}
