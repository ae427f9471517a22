package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/cli/clitest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// attach connects to a socket and waits until the process says so for the nth time.
func attach(t *testing.T, p *clitest.Process, path string, n int) net.Conn {
	t.Helper()
	c := clitest.Dial(t, path)
	p.AwaitTimes("front-end attached", n)
	return c
}

// awaitSocket waits until somebody listens at path. The socket's file is there a moment before.
func awaitSocket(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(clitest.Patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestServeStartsAndStops(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p, file, socket := serveImage(t, clitest.Options{}, 1<<20)
			for _, want := range []string{"export=vm", "socket=" + socket, "file=" + file, "size=1MiB", "mode=", "why="} {
				if !strings.Contains(p.Stderr(), want) {
					t.Errorf("the log lacks %q:\n%s", want, p.Stderr())
				}
			}
			front := attach(t, p, socket, 1)
			p.Signal(sig)
			if status := p.Status(); status != 0 {
				t.Errorf("status %d:\n%s", status, p.Stderr())
			}
			if err := front.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

func TestServeSeveral(t *testing.T) {
	dir := t.TempDir()
	image(t, dir, "a,b.raw", 1<<20)
	p := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--workers=1", "--read-only", "--log-format=json", "--log-level=debug",
		"--export=socket-path=one.sock,blk-file=a,,b.raw", "--export=socket-path=two.sock,blk-file=a,,b.raw",
		"--export=socket-path=three.sock,store=mem:64M,read-only=off,cache=unsafe")
	for _, name := range []string{"one", "two", "three"} {
		p.Await(`"msg":"listening","export":"` + name + `"`)
	}
	p.Await("loses data that the guest believes to be safe")
	for i, name := range []string{"one", "two", "three"} {
		if err := attach(t, p, filepath.Join(dir, name+".sock"), i+1).Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.Stop()
	for _, line := range strings.Split(strings.TrimSpace(p.Stderr()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// In JSON the reason for status 2 is a log line too.
func TestServeFailsInJSON(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := clitest.Run(t, clitest.Options{Dir: dir}, "serve", "--socket-path=s", "--blk-file=none", "--log-format=json")
	var line struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(stderr), &line); err != nil || status != 2 || line.Level != "ERROR" ||
		!strings.Contains(line.Msg, "none does not exist") {
		t.Fatalf("status %d, %v: %s", status, err, stderr)
	}
}

// One export that cannot start ends all of them, and leaves nothing.
func TestServeAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := clitest.Run(t, clitest.Options{Dir: dir}, "serve",
		"--export=socket-path=a.sock,store=mem:1M", "--export=socket-path=b.sock,blk-file=none")
	if status != 2 || !strings.Contains(stderr, "none does not exist") {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// One export that waits for its image lets no front-end come to the others: a guest of theirs would end with it.
func TestServeBeginsTogether(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 1<<20)
	holder := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--socket-path=holder.sock", "--blk-file="+file)
	holder.Await("listening")
	p := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--lock-timeout=300ms",
		"--export=socket-path=a.sock,store=mem:1M", "--export=socket-path=b.sock,blk-file="+file)
	if status := p.Status(); status != 2 || !strings.Contains(p.Stderr(), "is locked by") || strings.Contains(p.Stderr(), "listening") {
		t.Errorf("status %d:\n%s", status, p.Stderr())
	}
	holder.Stop()
}

func TestStaleSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "vm.sock")
	first := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--store=mem:1M")
	first.Await("listening")

	status, _, stderr := clitest.Run(t, clitest.Options{}, "serve", "--socket-path="+socket, "--store=mem:1M")
	if status != 2 || !strings.Contains(stderr, socket+": socket is in use by a running process") {
		t.Fatalf("alive: status %d: %s", status, stderr)
	}
	if err := attach(t, first, socket, 1).Close(); err != nil { // the second process's probe was nobody
		t.Fatal(err)
	}
	first.Signal(syscall.SIGKILL)
	first.Status()
	if _, err := os.Lstat(socket); err != nil {
		t.Fatalf("a killed process leaves its socket: %v", err)
	}
	second := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--store=mem:1M")
	second.Await("listening")
	if err := attach(t, second, socket, 1).Close(); err != nil {
		t.Fatal(err)
	}
	second.Stop()
}

func TestServeConnects(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "front.sock")
	p := clitest.Start(t, clitest.Options{}, "serve", "--connect="+path, "--store=mem:1M")
	p.Await("does not listen")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for range 2 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.Stop()
}

// A process whose stderr nobody reads any more goes on serving.
func TestServeOutlivesItsLog(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "vm.sock")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := clitest.Start(t, clitest.Options{Stderr: w}, "serve", "--socket-path="+socket, "--store=mem:1M")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	awaitSocket(t, socket)
	p.Stop()
}
