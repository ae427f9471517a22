package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kcmpFile is KCMP_FILE of kcmp(2).
const kcmpFile = 0

// SameFile tells whether two descriptors of this process are the same open file description, as after dup(2) or SCM_RIGHTS.
// A kernel without kcmp(2) cannot tell: false.
func SameFile(a, b int) bool {
	pid := uintptr(unix.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && order == 0
}

// Reopen opens a regular file, or memory, once more, for the same access: the result is another open file description of it.
// nil: fd is something else, or may not be opened.
func Reopen(fd int) *FD {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil
	}
	n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags&unix.O_ACCMODE|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return NewFD(n)
}
