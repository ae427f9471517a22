package vhostuser_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := vhostuser.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vhostuser.Listen(path); !errors.Is(err, vhostuser.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Fatalf("second: %v, want ErrInUse", err)
	}
	// The probe is a front-end that has left by the time we look at it; the listener still works.
	for range 2 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if err := ut.StaleSocket(path); err != nil {
		t.Fatal(err)
	}
	l, err := vhostuser.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// Of several that find the same stale socket one wins, and keeps it.
func TestListenersRaceForAStaleSocket(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "sock")
		if err := ut.StaleSocket(path); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		won := make(chan *vhostuser.Listener, 8)
		for range cap(won) {
			wg.Go(func() {
				l, err := vhostuser.Listen(path)
				switch {
				case err == nil:
					won <- l
				case !errors.Is(err, vhostuser.ErrInUse):
					t.Errorf("loser: %v", err)
				}
			})
		}
		wg.Wait()
		close(won)
		if n := len(won); n != 1 {
			t.Fatalf("%d listeners", n)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Close(), (<-won).Close()
	}
}

// Somebody removed or moved our socket, and another process listens at the path now: that one is not ours to remove.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	for name, clear := range map[string]func(string) error{
		"removed": os.Remove,
		"moved":   func(p string) error { return os.Rename(p, p+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sock")
			l, err := vhostuser.Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := clear(path); err != nil {
				t.Fatal(err)
			}
			other, err := vhostuser.Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatalf("the other's socket: %v", err)
			}
			_ = c.Close()
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Fatalf("after the other's Close: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestListenKeepsWhatIsNotASocket(t *testing.T) {
	for name, create := range map[string]func(string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"symlink":   func(p string) error { return os.Symlink("/nowhere", p) },
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sock")
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			if _, err := vhostuser.Listen(path); !errors.Is(err, vhostuser.ErrNotSocket) {
				t.Fatalf("%v, want ErrNotSocket", err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestListenRefusesPaths(t *testing.T) {
	dir := t.TempDir()
	long := dir + "/" + strings.Repeat("x", 107-len(dir)) // 108 bytes
	_, err := vhostuser.Listen(long)
	if !errors.Is(err, vhostuser.ErrPathTooLong) || !strings.Contains(err.Error(), "107") {
		t.Fatalf("%v, want ErrPathTooLong with the limit", err)
	}
	l, err := vhostuser.Listen(long[:107])
	if err != nil {
		t.Fatalf("the longest path: %v", err)
	}
	_ = l.Close()
	for _, path := range []string{"", "a\x00b", dir + "/missing/sock", "/proc/sock"} {
		if _, err := vhostuser.Listen(path); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}

// A socket that answers connect(2) otherwise than a stream listener does is alive all the same.
func TestListenLeavesOtherLiveSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "datagram")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := vhostuser.Listen(path); !errors.Is(err, vhostuser.ErrInUse) {
		t.Fatalf("datagram socket: %v, want ErrInUse", err)
	}

	path = filepath.Join(dir, "full")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	full, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	if _, err := vhostuser.Listen(path); !errors.Is(err, vhostuser.ErrInUse) {
		t.Fatalf("full backlog: %v, want ErrInUse", err)
	}
}

func TestListenAtSignIsAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := vhostuser.Listen("@sock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat("@sock"); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
