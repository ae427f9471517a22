package points

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
)

const (
	diskSize = 1 << 20
	patience = 20 * time.Second // for an answer or a completion, all kills included
	glance   = 10 * time.Millisecond
)

// plan is what a life is like.
type plan struct {
	packed bool
	// points are where the workers die, one after the other; "-": this one does not. Those that come after do not either.
	points []string
	every  string // where each worker dies, instead
	image  string // "": a file of its own
	unsure bool   // the connection may end
}

// life is one guest and its disk.
type life struct {
	plan
	t      *testing.T
	socket string
	sock   *net.UnixConn // the front-end's
	back   *guest.Backend
	front  *vhostusertest.Frontend
	queues []*driver.Queue

	running bool // the rings were started, and are to be when the connection is there again
	version uint64
	lost    int // connections
}

// begin starts vublk.
func begin(t *testing.T, p plan) *life {
	t.Helper()
	dir := t.TempDir()
	l := &life{plan: p, t: t, socket: filepath.Join(dir, "s")}
	if l.image == "" {
		l.image = filepath.Join(dir, "image")
		l.must(os.WriteFile(l.image, make([]byte, diskSize), 0o600))
	}
	point := l.every
	if point == "" {
		point = filepath.Join(dir, "points")
		l.must(os.WriteFile(point, []byte(strings.Join(append([]string{"-"}, l.points...), "\n")+"\n"), 0o600))
	}
	var err error
	l.back, err = guest.StartBackend(filepath.Join(dir, "log"), []string{l.socket}, "env", "VUBLK_CRASHPOINT="+point,
		vublk, "serve", "--socket-path="+l.socket, "--blk-file="+l.image, "--workers=1", "--config-wce", "--supervise", "--restart-limit=0")
	l.must(err)
	t.Cleanup(func() {
		if l.front != nil {
			_ = l.front.Close()
		}
		_ = l.back.Stop()
		if t.Failed() {
			t.Logf("%+v; vublk's log:\n%s", l.plan, l.back.Log())
		}
	})
	return l
}

func (l *life) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// deaths is how many workers have died at their points.
func (l *life) deaths() int { return strings.Count(l.back.Log(), "crashpoint reached") }

// awaitDeath returns when n workers have died at their points.
func (l *life) awaitDeath(n int) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); l.deaths() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%d deaths, want %d", l.deaths(), n)
		}
	}
}

// upgrade has the supervisor start another worker, in the place of the one that runs.
func (l *life) upgrade() { l.must(syscall.Kill(l.back.PID(), syscall.SIGUSR2)) }

// dial connects.
func (l *life) dial() *vhostusertest.Conn {
	l.t.Helper()
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: l.socket, Net: "unix"})
	l.must(err)
	l.sock = sock
	return vhostusertest.NewConn(sock)
}

// hungUp tells whether the connection has ended.
func (l *life) hungUp() bool {
	raw, err := l.sock.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = err == nil && n == 0 || errors.Is(err, unix.ECONNRESET)
	})
	return err != nil || ended
}

// gone tells the end of a connection from other errors.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// say has the front-end say something. When the connection ends meanwhile and may, it is said again over another one.
func (l *life) say(what string, f func() error) {
	l.t.Helper()
	err := f()
	for tries := 0; err != nil && gone(err) && l.unsure && tries < 3; tries++ {
		l.reconnect()
		err = f()
	}
	if err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

// reconnect is QEMU's way.
func (l *life) reconnect() {
	l.t.Helper()
	l.lost++
	if !l.unsure || l.lost > 2 {
		l.t.Fatalf("the connection has ended %d times", l.lost)
	}
	l.must(l.front.Disconnect())
	if !l.packed {
		for i := range l.queues {
			l.front.SetBase(i, virtio.Base(l.front.Queue(i).Split().UsedIdx()))
		}
	}
	l.must(l.front.Reconnect(l.dial()))
	if l.running {
		l.must(l.front.Start())
	}
}

// end demands that vublk ends in order, and that each worker that was to die has.
func (l *life) end(deaths int) {
	l.t.Helper()
	l.must(l.front.Disconnect())
	l.must(l.back.Stop())
	if got := l.deaths(); deaths >= 0 && got != deaths {
		l.t.Fatalf("%d deaths, want %d", got, deaths)
	}
	if l.unsure && l.lost > l.deaths() || !l.unsure && l.lost > 0 {
		l.t.Fatalf("%d connections were lost by %d deaths", l.lost, l.deaths())
	}
}
