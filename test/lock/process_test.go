package lock

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

const patience = 20 * time.Second

// lockTimeout is of those that are to wait for as long as a test keeps them waiting: far more than all its patience.
const lockTimeout = "--lock-timeout=10m"

// process is a program in the background. The end of the test kills it, if it still runs.
type process struct {
	*guest.Backend
	t *testing.T
}

func start(t *testing.T, argv ...string) *process {
	t.Helper()
	b, err := guest.StartBackend(filepath.Join(t.TempDir(), "log"), nil, argv...)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Backend: b, t: t}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", strings.Join(argv, " "), b.Log())
		}
	})
	return p
}

// await waits until the process has written text.
func (p *process) await(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(p.Log(), text); time.Sleep(2 * time.Millisecond) {
		if !p.Running() && !strings.Contains(p.Log(), text) || time.Now().After(deadline) {
			p.t.Fatalf("never wrote %q, but:\n%s", text, p.Log())
		}
	}
}

// awaitByte waits until the process holds QEMU's lock on one byte of a file.
func (p *process) awaitByte(path string, at int) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !p.holdsByte(path, at); time.Sleep(2 * time.Millisecond) {
		if !p.Running() || time.Now().After(deadline) {
			p.t.Fatalf("never locked byte %d of %s, but wrote:\n%s", at, path, p.Log())
		}
	}
}

// holdsByte tells whether the process holds QEMU's lock on one byte of a file now.
func (p *process) holdsByte(path string, at int) bool {
	p.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		p.t.Fatal(err)
	}
	return holds(p.PID(), st.Ino, at)
}

// holds looks for a lock among what a process has open (proc_pid_fdinfo(5)). Locks on adjacent bytes are one there.
func holds(pid int, ino uint64, at int) bool {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid)) // a constant pattern
	inode := fmt.Sprintf(":%d", ino)
	for _, info := range infos {
		b, err := os.ReadFile(info)
		if err != nil {
			continue // closed, or the process has gone
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // "lock: 1: OFDLCK ADVISORY READ -1 fe:00:9996365 100 101"
			if len(f) != 9 || f[2] != "OFDLCK" || !strings.HasSuffix(f[6], inode) {
				continue
			}
			first, err1 := strconv.Atoi(f[7])
			last, err2 := strconv.Atoi(f[8])
			if err1 == nil && err2 == nil && first <= at && at <= last {
				return true
			}
		}
	}
	return false
}

// end sends SIGTERM and demands exit status 0.
func (p *process) end() {
	p.t.Helper()
	if err := p.Stop(); err != nil {
		p.t.Fatalf("%v\n%s", err, p.Log())
	}
}

// signalKill sends SIGKILL and does not wait: a process whose I/O hangs may be long in dying.
func (p *process) signalKill() {
	p.t.Helper()
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
}

// awaitDeath waits until nothing is left of the process in /proc.
func (p *process) awaitDeath() {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d", p.PID())
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && !p.Running() {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the killed process is still there")
		}
	}
}

// run runs a program to its end, and returns its exit status and all that it wrote.
func run(t *testing.T, argv ...string) (status int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s does not end; it wrote:\n%s", strings.Join(argv, " "), out)
	case errors.As(err, &exit):
		return exit.ExitCode(), string(out)
	case err != nil:
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return 0, string(out)
}

// tool runs a program that must succeed.
func tool(t *testing.T, argv ...string) string {
	t.Helper()
	status, out := run(t, argv...)
	if status != 0 {
		t.Fatalf("%s: status %d\n%s", strings.Join(argv, " "), status, out)
	}
	return strings.TrimSpace(out)
}

// serve is the command line of a vublk on an image. The socket is what tells one export from another.
func serve(socket, image string, options ...string) []string {
	return append([]string{vublk, "serve", "--socket-path=" + socket, "--blk-file=" + image}, options...)
}

// serving starts a vublk that gets the image at once.
func serving(t *testing.T, image string, options ...string) (p *process, socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	p = start(t, serve(socket, image, options...)...)
	p.await("msg=listening")
	return p, socket
}

// silent demands that nobody answers at a socket.
func silent(t *testing.T, socket string) {
	t.Helper()
	if c, err := vhostusertest.Dial(socket); err == nil {
		_ = c.Close()
		t.Error("it listens before it has the image")
	}
}

func attach(t *testing.T, socket string) *clitest.Guest {
	t.Helper()
	return clitest.Attach(t, socket, vhostusertest.Options{})
}

// write, read and flush are one request each that must succeed.
func write(t *testing.T, g *clitest.Guest, sector uint64, data []byte) {
	t.Helper()
	if status := g.Do(0, clitest.Out, sector, data); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
}

func read(t *testing.T, g *clitest.Guest, sector uint64, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if status := g.Do(0, clitest.In, sector, data); status != clitest.StatusOK {
		t.Fatalf("read: status %d", status)
	}
	return data
}

func expect(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that begin with %.16q, want %d that begin with %.16q", what, len(got), got, len(want), want)
	}
}
