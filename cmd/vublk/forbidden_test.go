package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/iouring"
)

// forbidEnv makes the test binary start itself anew behind a seccomp filter that refuses io_uring_setup(2), as container
// runtimes do by default.
const forbidEnv = "VUBLK_TEST_FORBID_IO_URING"

func forbidIOURing() {
	if os.Getenv(forbidEnv) == "" {
		return
	}
	if err := installFilter(); err != nil {
		fmt.Fprintln(os.Stderr, "install a seccomp filter:", err)
		os.Exit(99)
	}
	_ = os.Unsetenv(forbidEnv)
	fmt.Fprintln(os.Stderr, "exec:", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	os.Exit(99)
}

// installFilter filters the system calls of this thread; exec makes it the whole process's.
func installFilter() error {
	runtime.LockOSThread()
	const (
		loadWord  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer    = unix.BPF_RET | unix.BPF_K
		allow     = 0x7fff0000 // SECCOMP_RET_ALLOW
		refuse    = 0x00050000 // SECCOMP_RET_ERRNO
	)
	filter := []unix.SockFilter{
		{Code: loadWord, K: 0}, // seccomp_data.nr
		{Code: jumpEqual, Jt: 0, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: answer, K: refuse | uint32(unix.EPERM)},
		{Code: answer, K: allow},
	}
	// struct sock_fprog, then the filter, where the kernel finds them and the garbage collector does not.
	arena, err := iouring.NewArena(4096)
	if err != nil {
		return err
	}
	block, err := arena.Alloc(256, 16)
	if err != nil {
		return err
	}
	const at = 16
	b := binary.NativeEndian.AppendUint16(block.Bytes()[:0], uint16(len(filter)))
	b = append(b, make([]byte, 6)...)
	b = binary.NativeEndian.AppendUint64(b, block.Addr()+at)
	for _, f := range filter {
		b = binary.NativeEndian.AppendUint16(b, f.Code)
		b = append(b, f.Jt, f.Jf)
		b = binary.NativeEndian.AppendUint32(b, f.K)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(block.Addr()), 0, 0)
}

func TestKernelForbidsIOURing(t *testing.T) {
	o := clitest.Options{Dir: t.TempDir(), Env: []string{forbidEnv + "=1"}}
	status, _, stderr := clitest.Run(t, o, "serve", "--socket-path=s", "--store=mem:1M")
	if status != 2 || !strings.Contains(stderr, "io_uring is not available") || !strings.Contains(stderr, "seccomp") || !oneLine(stderr) {
		t.Errorf("serve: status %d, %q", status, stderr)
	}
	status, stdout, stderr := clitest.Run(t, o, "info")
	if status != 1 || !strings.Contains(stdout, "io_uring CANNOT be used") || !strings.Contains(stdout, "DEFER_TASKRUN") ||
		!strings.Contains(stderr, "io_uring is not available") {
		t.Errorf("info: status %d, %q, %q", status, stdout, stderr)
	}
}
