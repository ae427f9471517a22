package iouring

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// kernel is what New and Probe ask of the host beside the ring itself. Tests put an older or a forbidding one in its
// place.
type kernel struct {
	setup    func(entries uint32, p *setupParams) (int, unix.Errno)
	readFile func(path string) ([]byte, error)
	release  string // as uname(2) has it: "6.1.0-56-cloud-amd64"
}

func host() kernel {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address; an empty release counts as the oldest
	return kernel{setup: setup, readFile: os.ReadFile, release: unix.ByteSliceToString(u.Release[:])}
}

// release is a kernel release: {6, 12} is 6.12.
type release [2]int

func (v release) String() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

// atLeast says whether the host's kernel is v or younger. Only what cannot be asked for otherwise should depend on it.
func (k kernel) atLeast(v release) bool {
	var r release
	parts := strings.FieldsFunc(k.release, func(c rune) bool { return c < '0' || c > '9' })
	for i := range min(len(r), len(parts)) {
		r[i], _ = strconv.Atoi(parts[i])
	}
	return r[0] > v[0] || r[0] == v[0] && r[1] >= v[1]
}

// sysctl reads a number from /proc/sys/kernel; -1: the kernel does not have it, or does not show it to us.
func (k kernel) sysctl(name string) int {
	b, err := k.readFile("/proc/sys/kernel/" + name)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}

// floor is the oldest kernel that works.
var floor = release{5, 15}

// UnsupportedError says that io_uring, or a feature of it, is not to be had here, and what would change that.
type UnsupportedError struct {
	Feature string // "io_uring", or a feature's name
	Needs   string // the first kernel release that has it: "5.15"
	Reason  string // what stands in the way, and the way out
	Err     error  // what the kernel answered; may be nil
}

// Error tells all but Needs, which Reason mentions where the kernel's age is the reason.
func (e *UnsupportedError) Error() string {
	text := e.Feature + " is not available: " + e.Reason
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap returns what the kernel answered.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// missing is the error of a call that needs f on a ring without it.
func missing(f Feature) error {
	for i := range featureTable {
		if t := &featureTable[i]; t.feature == f {
			return &UnsupportedError{
				Feature: t.name, Needs: t.since.String(),
				Reason: "it needs Linux " + t.since.String() + " or newer, or was switched off for this ring",
			}
		}
	}
	return &UnsupportedError{Feature: f.String(), Reason: "it is not a single feature"}
}

// setupError explains why there is no ring.
func (k kernel) setupError(errno unix.Errno) error {
	reason := ""
	switch errno {
	case unix.EINVAL:
		return k.tooOld(errno)
	case unix.ENOSYS:
		reason = "this kernel (" + k.release + ") was built without CONFIG_IO_URING, or a seccomp filter hides it:" +
			" run Linux " + floor.String() + " or newer with it, and allow io_uring_setup, io_uring_enter and" +
			" io_uring_register in the container's seccomp profile"
	case unix.EPERM, unix.EACCES:
		reason = k.forbidden(errno)
	case unix.ENOMEM:
		return errors.Wrap(errno, "set up an io_uring: not enough memory for its rings; make more available,"+
			" raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK= in a systemd unit), or use fewer workers or slots")
	case unix.EMFILE, unix.ENFILE:
		return errors.Wrap(errno, "set up an io_uring: raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= in a systemd unit)")
	default:
		return errors.Wrap(errno, "set up an io_uring")
	}
	return &UnsupportedError{Feature: "io_uring", Needs: floor.String(), Reason: reason, Err: errno}
}

// forbidden says who refused: the sysctl (6.6), or a filter in front of the system call.
func (k kernel) forbidden(errno unix.Errno) string {
	switch disabled := k.sysctl("io_uring_disabled"); {
	case errno == unix.EACCES:
		return "a security module's policy forbids it: allow io_uring for this process (SELinux: class io_uring)"
	case disabled >= 2:
		return "the administrator switched it off for every process: set the sysctl kernel.io_uring_disabled to 0," +
			" or to 1 and kernel.io_uring_group to a group of this process"
	case disabled == 1:
		return fmt.Sprintf("the sysctl kernel.io_uring_disabled=1 allows it only with CAP_SYS_ADMIN or to group %d:"+
			" add this process to the group that kernel.io_uring_group names, or set kernel.io_uring_disabled to 0",
			k.sysctl("io_uring_group"))
	default:
		return "a seccomp filter forbids it, as container runtimes do by default: allow io_uring_setup," +
			" io_uring_enter and io_uring_register in the container's seccomp profile"
	}
}

// tooOld is the answer of a kernel below the floor; errno 0: it made a ring that is not good enough.
func (k kernel) tooOld(errno unix.Errno) error {
	e := &UnsupportedError{
		Feature: "io_uring", Needs: floor.String(),
		Reason: "this kernel (" + k.release + ") is too old: run Linux " + floor.String() + " or newer",
	}
	if errno != 0 {
		e.Err = errno
	}
	return e
}
