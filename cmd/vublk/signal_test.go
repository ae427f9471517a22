package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// A process that was started to ignore SIGHUP, as by nohup(1), ignores it.
func TestHangUpIsIgnored(t *testing.T) {
	nohup := clitest.Options{Wrap: []string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}}
	p, file, socket := serveImage(t, nohup, 1<<20)
	truncate(t, file, 2<<20)
	p.Signal(syscall.SIGHUP)
	if err := attach(t, p, socket, 1).Close(); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if strings.Contains(p.Stderr(), "2MiB") {
		t.Error(p.Stderr())
	}
}

// fullPipe is a pipe that takes no byte more, until somebody reads.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for junk := make([]byte, 4096); ; {
		if _, err := unix.Write(fds[1], junk); err == unix.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
	}
	return os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
}

// A process whose stderr is full serves, ends on SIGTERM, and ends when it has something to say for itself.
func TestServeWithAFullLog(t *testing.T) {
	r, w := fullPipe(t)
	defer func() { _, _ = r.Close(), w.Close() }()
	socket := filepath.Join(t.TempDir(), "vm.sock")
	p := clitest.Start(t, clitest.Options{Stderr: w}, "serve", "--socket-path="+socket, "--store=mem:1M", "--log-level=debug", "--trace-messages")
	awaitSocket(t, socket)
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, 0, pattern(512, 1)); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
	p.Signal(syscall.SIGTERM)
	if status := p.Status(); status != 0 {
		t.Errorf("status %d", status)
	}
	p = clitest.Start(t, clitest.Options{Stderr: w}, "serve", "--socket-path="+socket, "--blk-file=/none/disk.raw")
	if status := p.Status(); status != 2 {
		t.Errorf("status %d", status)
	}
}
