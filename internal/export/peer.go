package export

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer names the process at the other end of conn, as far as the kernel knows.
func peer(conn *net.UnixConn) string {
	cred, err := credentials(conn)
	if err != nil {
		return "unknown"
	}
	return Process(cred.Pid, cred.Uid)
}

// Process names a process by what SO_PEERCRED tells of it. One that cannot be seen from here has pid 0 (pid_namespaces(7)): we
// are in a container, and it is not in there.
func Process(pid int32, uid uint32) string {
	if pid == 0 {
		return fmt.Sprintf("pid of another namespace, uid %d", uid)
	}
	return fmt.Sprintf("pid %d, uid %d", pid, uid)
}

// entitled tells whether the process at the other end may give orders: it is root's, or our own user's.
func entitled(conn *net.UnixConn) bool {
	cred, err := credentials(conn)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// credentials are those that the process at the other end had when it connected (unix(7), SO_PEERCRED).
func credentials(conn *net.UnixConn) (cred *unix.Ucred, err error) {
	err = control(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return cred, err
}

// control calls f with the descriptor of c, which stays open meanwhile. The error is f's, or that it could not be called.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	if err == nil {
		err = controlErr
	}
	return err
}
