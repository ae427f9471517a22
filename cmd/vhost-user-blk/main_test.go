package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

func TestMain(m *testing.M) { clitest.Main(m, main) }

// image makes a file of 1 MiB.
func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// use writes a sector and reads it back.
func use(t *testing.T, g *clitest.Guest) {
	t.Helper()
	want, got := bytes.Repeat([]byte("vublk..!"), 64), make([]byte, 512)
	if status := g.Do(0, clitest.Out, 3, want); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
	if status := g.Do(0, clitest.In, 3, got); status != clitest.StatusOK || !bytes.Equal(got, want) {
		t.Fatalf("read: status %d", status)
	}
	if status := g.Do(0, clitest.Flush, 0, nil); status != clitest.StatusOK {
		t.Fatalf("flush: status %d", status)
	}
}

// useTwice has one front-end after the other do that.
func useTwice(t *testing.T, socket string) {
	t.Helper()
	for range 2 {
		g := clitest.Attach(t, socket, vhostusertest.Options{})
		use(t, g)
		if err := g.Disconnect(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSocketPath(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vm.sock")
	p := clitest.Start(t, clitest.Options{}, "--socket-path", socket, "--blk-file", image(t))
	p.Await("listening")
	useTwice(t, socket)
	p.Stop()
}

// --fd with a listening socket accepts, again and again.
func TestListeningDescriptor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vm.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	p := clitest.Start(t, clitest.Options{Files: []*os.File{f}}, "--fd=3", "--blk-file="+image(t))
	l.SetUnlinkOnClose(false)
	for _, c := range []func() error{f.Close, l.Close} {
		if err := c(); err != nil {
			t.Fatal(err)
		}
	}
	p.Await("listening")
	useTwice(t, socket)
	p.Stop()
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the socket's name belongs to who made it: %v", err)
	}
}

// --fd with a connected socket serves that front-end and ends with it.
func TestConnectedDescriptor(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "back-end"), os.NewFile(uintptr(fds[1]), "front-end")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	p := clitest.Start(t, clitest.Options{Files: []*os.File{theirs}}, "--fd=3", "--blk-file="+image(t))
	for _, f := range []*os.File{theirs, ours} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	g := clitest.AttachTo(t, vhostusertest.NewConn(conn.(*net.UnixConn)), vhostusertest.Options{})
	use(t, g)
	if !p.Running() {
		t.Fatal("ended early")
	}
	if err := g.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if status := p.Status(); status != 0 {
		t.Fatalf("status %d:\n%s", status, p.Stderr())
	}
}

func TestCapabilities(t *testing.T) {
	for _, args := range []string{"--print-capabilities", "--nonsense --print-capabilities --fd=x file", "--print-capabilities --socket-path=/none/s"} {
		status, stdout, stderr := clitest.Run(t, clitest.Options{}, strings.Fields(args)...)
		if status != 0 || stdout != `{"type":"block","features":["read-only","blk-file"]}`+"\n" || stderr != "" {
			t.Errorf("%s: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}

func TestBadInput(t *testing.T) {
	file := image(t)
	for _, c := range []struct{ args, want string }{
		{"", "--socket-path: missing; say where front-ends connect: --socket-path or --fd\n"},
		{"--socket-path=s", "--blk-file: missing; say what to serve\n"},
		{"--blk-file=" + file, "--socket-path: missing"},
		{"--socket-path=s --fd=3 --blk-file=" + file, "--fd: contradicts socket-path"},
		{"--fd=x --blk-file=" + file, "--fd=x: not a descriptor"},
		{"--fd=3 --blk-file=" + file, "--fd=3: no"},
		{"--socket-path=s --blk-file=/none", "/none does not exist"},
		{"--socket-path=s --blk-file=" + file + " --cache=unsafe", "unknown option --cache"},
		{"--socket-path=s --blk-file=" + file + " --readonly", "did you mean --read-only?"},
		{"serve", `unexpected argument "serve"`},
	} {
		status, stdout, stderr := clitest.Run(t, clitest.Options{Dir: t.TempDir()}, strings.Fields(c.args)...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, c.want) || !strings.HasPrefix(stderr, "vhost-user-blk: ") {
			t.Errorf("%s: status %d, %q, %q; want %q", c.args, status, stdout, stderr, c.want)
		}
	}
}

// A locked image is a failure to tell early, in words that lead on.
func TestLockedImage(t *testing.T) {
	file := image(t)
	holder := clitest.Start(t, clitest.Options{}, "--socket-path="+filepath.Join(t.TempDir(), "a"), "--blk-file="+file)
	holder.Await("listening")
	begin := time.Now()
	status, _, stderr := clitest.Run(t, clitest.Options{Dir: t.TempDir()}, "--socket-path=b", "--blk-file="+file)
	if took := time.Since(begin); status != 2 || took > 20*time.Second ||
		!strings.Contains(stderr, "is locked by") || !strings.Contains(stderr, "it is 'vublk serve' that has --lock-timeout") {
		t.Errorf("status %d after %v: %s", status, took, stderr)
	}
	holder.Stop()
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := clitest.Run(t, clitest.Options{}, "--help")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	options := 0
	for _, line := range strings.Split(stdout, "\n") {
		if strings.HasPrefix(line, "  -") {
			options++
		}
	}
	if options != 7 { // the five of the conventions, --help and --version
		t.Errorf("%d options:\n%s", options, stdout)
	}
	if status, stdout, _ := clitest.Run(t, clitest.Options{}, "--version"); status != 0 || !strings.Contains(stdout, "linux/") {
		t.Errorf("--version: status %d, %q", status, stdout)
	}
}
