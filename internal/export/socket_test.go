package export

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pair returns the two ends of a connected Unix stream socket.
func pair(t *testing.T, kind int) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func shut(t *testing.T, fds ...int) {
	t.Helper()
	for _, fd := range fds {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
}

func TestInheritConnected(t *testing.T) {
	ours, theirs := pair(t, unix.SOCK_STREAM)
	defer shut(t, theirs)
	s, err := inherit(ours, quiet())
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := s.next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(theirs, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if _, _, err := s.next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("a second front-end: %v", err)
	}
	if err := errors.Wrap(conn.Close(), "conn"); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	// Never asked for: close is what ends it.
	ours2, theirs2 := pair(t, unix.SOCK_STREAM)
	defer shut(t, theirs2)
	if s, err = inherit(ours2, quiet()); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

func TestInheritListening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	if got := socketName(fd); got != path {
		t.Fatalf("socket is called %q", got)
	}
	s, err := inherit(fd, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.begin(t.Context())
	for range 2 {
		front, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := front.Write([]byte("a front-end speaks first")); err != nil {
			t.Fatal(err)
		}
		conn, _, err := s.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []io.Closer{front, conn} {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the name of an inherited socket belongs to who made it: %v", err)
	}
}

func TestInheritRejects(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	datagram, other := pair(t, unix.SOCK_DGRAM)
	defer shut(t, datagram, other)
	loose, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	inet, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, loose, inet)
	for _, c := range []struct {
		name string
		fd   int
		want string
	}{
		{"closed", 19999, "no such descriptor"},
		{"a file", int(file.Fd()), "not a socket"},
		{"datagram", datagram, "not a Unix stream socket"},
		{"internet", inet, "not a Unix stream socket"},
		{"neither", loose, "neither listens nor is connected"},
	} {
		if _, err := inherit(c.fd, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestListenerStopsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := NewDefinition()
	d.Socket.Path = path
	s, err := (&Export{def: d, log: quiet()}).openSocket()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s.begin(ctx)
	go func() {
		_, _, err := s.next(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the socket's name stayed: %v", err)
	}
}

func TestDialerGoesOnTrying(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := NewDefinition()
	d.Socket.Connect = path
	s, err := (&Export{def: d, log: quiet()}).openSocket()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		conn, _, err := s.next(t.Context())
		if err == nil {
			err = conn.Close()
		}
		got <- err
	}()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	select {
	case err := <-got:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("never connected")
	}
	// The front-end hung up at once: the next attempt waits, and can be told to stop.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := s.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("no pause between sessions: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}
