package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// How long a back-end may take on a busy machine. They guard against hangs, and measure nothing.
const (
	listenTime = time.Minute
	stopTime   = time.Minute
)

// Backend is a running vublk.
type Backend struct {
	cmd     *exec.Cmd
	log     string
	exited  chan struct{}
	exitErr error
}

// StartBackend starts a program that must soon listen on the sockets; its output goes to the file log.
func StartBackend(log string, sockets []string, argv ...string) (*Backend, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, errors.Wrap(err, "back-end's log")
	}
	defer func() { _ = f.Close() }()
	b := &Backend{cmd: exec.Command(argv[0], argv[1:]...), log: log, exited: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = f, f
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		return nil, errors.Wrap(err, "back-end")
	}
	go func() {
		b.exitErr = b.cmd.Wait()
		close(b.exited)
	}()
	for deadline := time.Now().Add(listenTime); ; time.Sleep(10 * time.Millisecond) {
		missing := notListening(sockets)
		switch {
		case missing == "":
			return b, nil
		case !b.Running():
			return nil, errors.Errorf("back-end ended at its start: %v\n%s", b.exitErr, b.Log())
		case time.Now().After(deadline):
			b.Kill()
			return nil, errors.Errorf("back-end does not listen on %s\n%s", missing, b.Log())
		}
	}
}

// notListening returns the first path without a listening socket. It reads the kernel's list and does not connect: a
// session that ends at once is a test of its own, not a part of every start.
func notListening(paths []string) string {
	list, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err.Error()
	}
	listening := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		// "address: refcount protocol flags type state inode path"; flag 0x10000 is __SO_ACCEPTCON.
		f := strings.Fields(line)
		if len(f) > 7 && f[3] == "00010000" && f[4] == "0001" && f[5] == "01" {
			listening[strings.Join(f[7:], " ")] = true
		}
	}
	for _, path := range paths {
		if !listening[path] {
			return path
		}
	}
	return ""
}

// Running says whether the process still runs.
func (b *Backend) Running() bool {
	select {
	case <-b.exited:
		return false
	default:
		return true
	}
}

// PID is the process id.
func (b *Backend) PID() int { return b.cmd.Process.Pid }

// Log returns what the program wrote.
func (b *Backend) Log() string { return readLog(b.log) }

// Stop sends SIGTERM and demands exit status 0 in time and a log without a panic. Called again it does nothing.
func (b *Backend) Stop() error { return b.StopWithin(stopTime) }

// StopWithin is Stop for a back-end that has to wait for a disk.
func (b *Backend) StopWithin(limit time.Duration) error {
	if b.Running() {
		if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return errors.Wrap(err, "SIGTERM")
		}
		select {
		case <-b.exited:
		case <-time.After(limit):
			b.Kill()
			return errors.Errorf("back-end does not end within %v of SIGTERM", limit)
		}
	}
	if b.exitErr != nil {
		return errors.Wrap(b.exitErr, "back-end")
	}
	if log := b.Log(); strings.Contains(log, "panic") || strings.Contains(log, "fatal error:") {
		return errors.New("back-end's log tells of a panic")
	}
	return nil
}

// Kill ends the process by SIGKILL.
func (b *Backend) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.exited
}

// ContextSwitches returns the voluntary and involuntary ones of every thread of a process. The kernel's helpers of
// io_uring (io-wq) are threads of the process, so they count.
func ContextSwitches(pid int) (map[int]int, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(paths) == 0 {
		return nil, errors.Errorf("no threads of process %d", pid)
	}
	switches := map[int]int{}
	for _, path := range paths {
		tid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, errors.Wrap(err, path)
		}
		sum := 0
		for _, field := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
			n, err := statusField(path, field)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
				return nil, err
			}
			sum += n // 0 when the thread has just ended
		}
		if sum > 0 {
			switches[tid] = sum
		}
	}
	return switches, nil
}

// Memory is what a process has in memory, in KiB.
type Memory struct {
	Anon  int // heap and stacks
	File  int // of files: its program
	Shmem int // shared: of guests, in-flight records
}

// RSS is all of it.
func (m Memory) RSS() int { return m.Anon + m.File + m.Shmem }

// ResidentMemory reads it.
func ResidentMemory(pid int) (m Memory, err error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	if m.Anon, err = statusField(path, "RssAnon"); err != nil {
		return m, err
	}
	if m.File, err = statusField(path, "RssFile"); err != nil {
		return m, err
	}
	m.Shmem, err = statusField(path, "RssShmem")
	return m, err
}

// PrivateMemory is RssAnon + RssFile in KiB: guest memory that vublk touched is shared and not its own.
func PrivateMemory(pid int) (int, error) {
	m, err := ResidentMemory(pid)
	return m.Anon + m.File, err
}

func statusField(path, name string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			var n int
			_, err := fmt.Sscan(string(rest), &n)
			return n, errors.Wrapf(err, "%s in %s", name, path)
		}
	}
	return 0, errors.Errorf("no %s in %s", name, path)
}
