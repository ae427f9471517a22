package vhostusertest

import (
	"net"

	"github.com/pkg/errors"
)

// StaleSocket leaves a name at path on which nobody listens, as a killed process does.
func StaleSocket(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return errors.Wrap(err, "make a stale socket")
	}
	l.SetUnlinkOnClose(false)
	return errors.Wrap(l.Close(), "make a stale socket")
}
