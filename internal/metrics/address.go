package metrics

import (
	"net"
	"os"
	"strings"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
)

// Listen listens on HOST:PORT, on :PORT for all interfaces, or on a Unix socket: a path that has a slash in it. The socket may
// be used by this user only; one that a dead process has left is replaced.
func Listen(address string) (net.Listener, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	if !isPath(address) {
		l, err := net.Listen("tcp", address)
		return l, errors.WithStack(err)
	}
	l, err := vhostuser.Listen(address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, 0o600); err != nil {
		_ = l.Close()
		return nil, errors.WithStack(err)
	}
	return l, nil
}

func isPath(address string) bool { return strings.Contains(address, "/") }

// CheckAddress tells what is wrong with an address, as far as that can be seen without using it.
func CheckAddress(address string) error {
	if isPath(address) {
		return nil // vhostuser.Listen says what is wrong with a path
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" {
		return errors.New("neither HOST:PORT nor the path of a socket, with a slash in it")
	}
	return nil
}
