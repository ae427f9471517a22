package control

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is how many supplementary groups a process can have (credentials(7), NGROUPS_MAX).
const maxGroups = 65536

// peerGroups returns the supplementary groups of the process at the other end (unix(7), SO_PEERGROUPS, Linux 4.13).
func peerGroups(fd int) ([]uint32, error) {
	for n := uint32(64); ; n = maxGroups {
		groups := make([]uint32, n)
		size := 4 * n
		err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS, unsafe.Pointer(unsafe.SliceData(groups)), &size)
		if err == nil {
			return groups[:size/4], nil
		}
		if err != unix.ERANGE || n == maxGroups { //nolint:errorlint // a bare errno
			return nil, err
		}
	}
}

// getsockopt is getsockopt(2).
func getsockopt(fd, level, option int, value unsafe.Pointer, size *uint32) error {
	// Safe because value has room for *size bytes, which the caller made it of, and lives until the call returns.
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	if e != 0 {
		return e
	}
	return nil
}
