package export

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// inherit takes over descriptor fd, which the program was started with. Front-ends and management software do not agree
// on what --fd is (QEMU's contrib/vhost-user-blk accepts on it, vhost-user-gpu reads from it), so the kernel is asked.
func inherit(fd int, log *slog.Logger) (socket, error) {
	listens, problem := examine(fd)
	if problem != "" {
		return nil, &OptionError{
			Option: "fd", Value: strconv.Itoa(fd), Reason: problem,
			Remedy: "pass the number of an inherited Unix stream socket, listening or connected",
		}
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("fd %d", fd))
	defer func() { _ = f.Close() }() // net works on a duplicate
	if listens {
		l, err := net.FileListener(f)
		if err != nil {
			return nil, &OptionError{Option: "fd", Value: strconv.Itoa(fd), Reason: err.Error()}
		}
		return newListener(l.(*net.UnixListener), log), nil
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, &OptionError{Option: "fd", Value: strconv.Itoa(fd), Reason: err.Error()}
	}
	return &once{conn: conn.(*net.UnixConn)}, nil
}

// examine tells a listening socket from a connected one, or says what else fd is.
func examine(fd int) (listens bool, problem string) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch err {
	case nil:
	case unix.EBADF:
		return false, "no such descriptor is open"
	default:
		return false, "not a socket"
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || domain != unix.AF_UNIX || kind != unix.SOCK_STREAM {
		return false, "not a Unix stream socket"
	}
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return false, err.Error()
	}
	if accepts != 0 {
		return true, ""
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return false, "a socket that neither listens nor is connected"
	}
	return false, ""
}

// socketName is the path of an inherited socket; "" when it has none (socketpair(2)).
func socketName(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	if sa, ok := sa.(*unix.SockaddrUnix); ok {
		return sa.Name
	}
	return ""
}
