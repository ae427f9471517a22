package export

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// A process that asks for an export and then does not take it leaves everything as it was; its guest has waited.
func TestTakeOverThatIsAborted(t *testing.T) {
	s := serveImage(t, "")
	data := make([]byte, 4096)
	for n := range 5 {
		data[0] = byte(n)
		to, err := BeginTakeOver(s.Definition())
		if err != nil {
			t.Fatal(err)
		}
		s.guest.Submit(0, clitest.Out, uint64(8*n), data)
		s.guest.WantPending(0, 20*time.Millisecond, "served while it was handed over")
		if to.kept[kindListen] == nil || to.kept[kindImage] == nil || to.kept[kindState+onlySession] == nil {
			t.Fatalf("handed over: %v", to.kept)
		}
		to.Abort()
		s.guest.WantDone(0, "not served afterwards")
	}
	got, err := os.ReadFile(s.file)
	if err != nil || got[4*4096] != 4 {
		t.Fatalf("the last write is not in the image: %v", err)
	}
}

// The old process has let go when the new one has its word, whatever becomes of that.
func TestTakeOverIsFinal(t *testing.T) {
	s := serveImage(t, "")
	to, err := BeginTakeOver(s.Definition())
	if err != nil {
		t.Fatal(err)
	}
	if err := to.claim(); err != nil {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil || s.State() != Closed {
		t.Fatalf("the old export: %v, %v", s.State(), err)
	}
	if _, err := os.Lstat(s.socket); err != nil {
		t.Fatalf("the socket's name is gone: %v", err)
	}
	to.Abort()
}

// Orders that cannot be carried out are refused in words, and change nothing.
func TestOrdersThatAreRefused(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	e := start(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "s"))
	if _, err := BeginTakeOver(e.Definition()); err == nil || !strings.Contains(err.Error(), "ends with its process") {
		t.Errorf("a memory store: %v", err)
	}
	if err := Release(filepath.Join(dir, "s")); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("release of a store: %v", err)
	}
	c, err := order(filepath.Join(dir, "s"), "make tea")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.receive(stepDone); err == nil || !strings.Contains(err.Error(), `does not know the order "make tea"`) {
		t.Errorf("an unknown order: %v", err)
	}
	c.close()
	nobody := e.Definition()
	nobody.Socket.Path = filepath.Join(dir, "nobody")
	if _, err := BeginTakeOver(nobody); err == nil || !strings.Contains(err.Error(), "no vublk can be reached at "+nobody.Socket.Path) {
		t.Errorf("nobody there: %v", err)
	}
	if e.State() != Listening {
		t.Errorf("state %v", e.State())
	}
}

// Whoever connects and says nothing keeps nobody out, and there is a bound to how many do.
func TestSilentConnections(t *testing.T) {
	s := serveImage(t, "")
	var silent []net.Conn
	for range 2 * maxWaiting {
		c, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		silent = append(silent, c)
	}
	if err := silent[0].SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := silent[0].Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Fatalf("the oldest silent connection is still there: %d, %v", n, err)
	}
	to, err := BeginTakeOver(s.Definition()) // an operator is heard beside them and the front-end
	if err != nil {
		t.Fatal(err)
	}
	to.Abort()
	if err := s.guest.Disconnect(); err != nil {
		t.Fatal(err)
	}
	clitest.Attach(t, s.socket, vhostusertest.Options{}) // so is a front-end
}

// Front-ends that wait for their turn are as many at most.
func TestWaitingFrontEnds(t *testing.T) {
	s := serveImage(t, "")
	var waiting []net.Conn
	for range 2 * maxWaiting {
		c, err := net.Dial("unix", s.socket)
		must(t, err)
		defer func() { _ = c.Close() }()
		_, err = c.Write([]byte{1, 0, 0, 0})
		must(t, err)
		waiting = append(waiting, c)
	}
	must(t, waiting[0].SetReadDeadline(time.Now().Add(time.Minute)))
	if n, err := waiting[0].Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Fatalf("the oldest is still there: %d, %v", n, err)
	}
	to, err := BeginTakeOver(s.Definition())
	must(t, err)
	to.Abort()
	s.goesOn()
}
