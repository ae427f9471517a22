package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
)

func TestTopText(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	wantAll(t, h.does("top", "--count=2", "--interval=100ms", "--sort=name"), "1 exports in 1", "NAME", "CPU/IO", "vm", "listening")
}

// screenOf reads what comes from a terminal until it has shown text since the last time, which it returns.
type screenOf struct {
	t     *testing.T
	outer *os.File
	seen  bytes.Buffer
}

func (s *screenOf) await(text string) {
	s.t.Helper()
	b := make([]byte, 4096)
	for !strings.Contains(s.seen.String(), text) {
		if err := s.outer.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.outer.Read(b)
		if err != nil {
			s.t.Fatalf("no %q on the terminal: %v; it shows %q", text, err, s.seen.String())
		}
		s.seen.Write(b[:n])
	}
	s.seen.Reset()
}

func (s *screenOf) press(keys string) {
	s.t.Helper()
	if _, err := s.outer.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// withDeadlines is another descriptor of f that has them: asking f for its number has made it block.
func withDeadlines(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(fd), f.Name())
	t.Cleanup(func() { _ = other.Close() })
	return other
}

// itsTerminal has stdin be a process's controlling terminal, as an operator's shell does.
var itsTerminal = []string{"setsid", "--ctty"}

// TestTopOnATerminal: the live table, its keys, a daemon that goes away and comes back, the end.
func TestTopOnATerminal(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	outer, inner := terminal(t)
	outer = withDeadlines(t, outer)
	if err := unix.IoctlSetWinsize(int(inner.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 110}); err != nil {
		t.Fatal(err)
	}
	o := h.options()
	o.Env = append(o.Env, "TERM=xterm-256color")
	o.Wrap, o.Stdin, o.Stdout = itsTerminal, inner, inner
	p := clitest.Start(t, o, "top", "--interval=100ms")
	_ = inner.Close()
	s := &screenOf{t: t, outer: outer}
	s.await("listening")
	s.press("?")
	s.await("sort by name")
	s.press("?")
	s.await("listening")
	h.daemon.Stop()
	s.await("ending")
	h.start()
	s.await("exports, every")
	s.press("q")
	if status := p.Status(); status != 0 || p.Stderr() != "" {
		t.Errorf("status %d, %q", status, p.Stderr())
	}
}

// TestTerminalIsAskedNothing: a command that has no screen says to a terminal what it says to a file. One that asks the terminal
// for its colours waits seconds for a serial console, which has no answer.
func TestTerminalIsAskedNothing(t *testing.T) {
	outer, inner := terminal(t)
	p := clitest.Start(t, clitest.Options{Wrap: itsTerminal, Env: []string{"TERM=xterm-256color"}, Stdin: inner, Stdout: inner}, "version")
	if status := p.Status(); status != 0 {
		t.Errorf("status %d, %q", status, p.Stderr())
	}
	b := make([]byte, 4096)
	n, err := outer.Read(b) // inner keeps it open, and what was said is there
	if said := string(b[:n]); err != nil || !strings.HasPrefix(said, "vublk ") || strings.Contains(said, "\x1b") {
		t.Errorf("%q, %v", said, err)
	}
	_ = inner.Close()
}
