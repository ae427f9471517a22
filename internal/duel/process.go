package duel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// How long a process may take.
const (
	startTime = 20 * time.Second // to listen
	stopTime  = 20 * time.Second // to end after SIGTERM
)

// logTail is how much of a log is part of an error, in bytes.
const logTail = 2 << 10

// Process is a program that we have started. It dies when we do.
type Process struct {
	argv  []string
	log   string // path
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of its end
	// patience is how long it may take to end after SIGTERM.
	patience time.Duration
}

// StartProcess starts argv on a CPU (negative: on any, as `taskset -c CPU argv…` would otherwise), with its output going to a
// file, and waits until it listens on all the sockets, by the kernel's list: connecting would be a session of its own.
func StartProcess(ctx context.Context, cpu int, log string, argv []string, sockets ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Wrap(err, "log")
	}
	defer func() { _ = f.Close() }()
	p := newProcess(argv, f)
	if err := p.launch(cpu); err != nil {
		return nil, err
	}
	if err := p.listening(ctx, sockets); err != nil {
		p.Kill()
		return nil, p.explain(err)
	}
	return p, nil
}

// newProcess is one that is not started, with its output going to log.
func newProcess(argv []string, log *os.File) *Process {
	p := &Process{
		argv: argv, log: log.Name(), cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{}), patience: stopTime,
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	return p
}

// launch starts the process and someone who waits for it.
func (p *Process) launch(cpu int) error {
	started := make(chan error)
	go func() {
		// The signal at our death is sent when the thread that has started the process ends: so it stays until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := startOn(cpu, p.cmd)
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	return <-started
}

// startOn starts cmd with the affinity that a child inherits from its thread, which is this one.
func startOn(cpu int, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cpu >= 0 {
		var before, now unix.CPUSet
		now.Set(cpu)
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			return errors.Wrap(err, "affinity")
		}
		if err := unix.SchedSetaffinity(0, &now); err != nil {
			return errors.Wrapf(err, "run on CPU %d", cpu)
		}
		// It has just worked with fewer; of the CPUs of before, one at least is there.
		defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	}
	return errors.Wrapf(cmd.Start(), "start %s", cmd.Args[0])
}

// listening waits until all sockets are there.
func (p *Process) listening(ctx context.Context, sockets []string) error {
	for deadline := time.Now().Add(startTime); ; {
		missing, err := notListening(sockets)
		switch {
		case err != nil:
			return err
		case missing == "":
			return nil
		case time.Now().After(deadline):
			return errors.Errorf("it does not listen on %s within %v", missing, startTime)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return errors.Errorf("it ended at its start: %v", p.status())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// notListening returns the first path without a socket that listens. A line of the kernel's list is "address: references
// protocol flags type state inode path"; the flag 0x10000 is __SO_ACCEPTCON.
func notListening(paths []string) (string, error) {
	list, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return "", errors.Wrap(err, "list sockets")
	}
	var there []string
	for line := range bytes.Lines(list) {
		f := strings.SplitN(strings.Join(strings.Fields(string(line)), " "), " ", 8)
		if len(f) == 8 && f[3] == "00010000" {
			there = append(there, f[7])
		}
	}
	for _, path := range paths {
		if !slices.Contains(there, path) {
			return path, nil
		}
	}
	return "", nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Stop asks the process to end (SIGTERM), and ends it when it does not. Any end but with status 0 is an error.
func (p *Process) Stop() error {
	if p.Running() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may end just now
		select {
		case <-p.ended:
		case <-time.After(p.patience):
			p.Kill()
			return p.explain(errors.Errorf("it did not end within %v of SIGTERM", p.patience))
		}
	}
	if p.err != nil {
		return p.explain(p.err)
	}
	return nil
}

// Kill ends the process by SIGKILL and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// status is how it ended.
func (p *Process) status() string { return p.cmd.ProcessState.String() }

// ProcessError is a process's failure, with what one needs to look into it.
type ProcessError struct {
	Command string // to type in a shell
	Log     string // its end
	Err     error
}

func (e *ProcessError) Error() string {
	return fmt.Sprintf("%v\nthe command was: %s\nits log ends with: %s", e.Err, e.Command, e.Log)
}

// Unwrap returns the cause.
func (e *ProcessError) Unwrap() error { return e.Err }

func (p *Process) explain(err error) error {
	return &ProcessError{Command: shell(p.argv), Log: p.Log(), Err: err}
}

// Log returns the end of what the process has written.
func (p *Process) Log() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-logTail), io.SeekStart) // a file: it works, or the whole log is what comes
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return strings.TrimRight(string(text), "\n")
}

// shell writes a command line as one types it.
func shell(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$&|;<>()*?[]#~`!{}") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}
