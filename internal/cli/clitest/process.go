package clitest

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
)

// part is the environment variable that tells the test binary to be the command.
const part = "VUBLK_TEST_AS_COMMAND"

// Patience is how long a process may take for what it is waited for.
const Patience = 30 * time.Second

// Main runs the command, where this process is one, or else the tests of the package.
func Main(m *testing.M, command func()) {
	if os.Getenv(part) != "" {
		command()
		os.Exit(0)
	}
	leaktest.Main(m)
}

// Process is a command that runs.
type Process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr lockedBuffer
	ended  chan struct{}
}

// Options are what else a process is started with.
type Options struct {
	Dir   string     // working directory
	Files []*os.File // descriptors 3, 4, …
	Env   []string   // what the environment has beside ours
	Wrap  []string   // a program and arguments that run the command
	// Stdout and Stderr take the places of the collected ones, Stdin of nothing to read.
	Stdin, Stdout, Stderr *os.File
}

// Start starts the command with args. The end of the test kills it, if it still runs.
func Start(t *testing.T, o Options, args ...string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := append(append(slices.Clone(o.Wrap), self), args...)
	p := &Process{t: t, cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})}
	// A process under the race detector sleeps for a second before it ends, unless told otherwise.
	p.cmd.Env = append(append(os.Environ(), part+"=1", "GORACE=atexit_sleep_ms=0"), o.Env...)
	p.cmd.Dir, p.cmd.ExtraFiles = o.Dir, o.Files
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if o.Stdin != nil {
		p.cmd.Stdin = o.Stdin
	}
	if o.Stdout != nil {
		p.cmd.Stdout = o.Stdout
	}
	if o.Stderr != nil {
		p.cmd.Stderr = o.Stderr
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // Status has the result
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// Run starts the command, waits for its end and returns its exit status and what it wrote.
func Run(t *testing.T, o Options, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	p := Start(t, o, args...)
	status = p.Status()
	return status, p.stdout.String(), p.stderr.String()
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stderr is what the process has written to stderr so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Signal sends sig.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Status waits for the end and returns the exit status.
func (p *Process) Status() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		p.t.Fatalf("%s does not end; it wrote:\n%s", strings.Join(p.cmd.Args[1:], " "), p.stderr.String())
		return -1
	}
}

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Stop sends SIGTERM and expects status 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if status := p.Status(); status != 0 {
		p.t.Fatalf("status %d after SIGTERM:\n%s", status, p.Stderr())
	}
}

// Await waits until the process has written text to stderr.
func (p *Process) Await(text string) {
	p.t.Helper()
	p.AwaitTimes(text, 1)
}

// AwaitTimes waits until it has written text n times, since it began.
func (p *Process) AwaitTimes(text string, n int) {
	p.t.Helper()
	written := func() bool { return strings.Count(p.stderr.String(), text) >= n }
	for deadline := time.Now().Add(Patience); !written(); time.Sleep(2 * time.Millisecond) {
		if !p.Running() && !written() {
			p.t.Fatalf("ended with status %d and did not write %q %d times, but:\n%s", p.cmd.ProcessState.ExitCode(), text, n, p.stderr.String())
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("did not write %q %d times, but:\n%s", text, n, p.stderr.String())
		}
	}
}

// lockedBuffer is written by the goroutine that copies a pipe and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
