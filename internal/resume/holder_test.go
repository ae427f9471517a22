package resume_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// systemd is the socket that NOTIFY_SOCKET names.
func systemd(t *testing.T) int {
	t.Helper()
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(n) })
	path := filepath.Join(t.TempDir(), "notify")
	if err := unix.Bind(n, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	return n
}

func connect(t *testing.T) *resume.Holder {
	t.Helper()
	h, err := resume.Connect()
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func hear(t *testing.T, sock int) resume.Message {
	t.Helper()
	m, err := resume.Receive(sock)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNobodyHolds(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	h, err := resume.Connect()
	if h != nil || err != nil {
		t.Fatal(h, err)
	}
	if h.Supervised() || h.Notify("READY=1") != nil || h.Close() != nil {
		t.Fatal("a holder that is none is no good")
	}
	if kept, err := h.Inherited(); len(kept) != 0 || err != nil {
		t.Fatal(kept, err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if _, err := resume.Connect(); err == nil {
		t.Fatal("nobody is there, and no error")
	}
}

// TestSystemd: what systemd is told, word by word.
func TestSystemd(t *testing.T) {
	sock := systemd(t)
	h := connect(t)
	e, err := sys.EventFD()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for _, err := range []error{h.Store("vublk-1", e.Int()), h.Remove("vublk-1"), h.Notify("READY=1", "STATUS=fine")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m := hear(t, sock)
	if fmt.Sprint(m.Fields) != "map[FDNAME:vublk-1 FDPOLL:0 FDSTORE:1]" || len(m.FDs) != 1 {
		t.Errorf("%v with %d descriptors", m.Fields, len(m.FDs))
	}
	m.Close()
	for _, want := range []string{"map[FDNAME:vublk-1 FDSTOREREMOVE:1]", "map[READY:1 STATUS:fine]"} {
		if m := hear(t, sock); fmt.Sprint(m.Fields) != want || len(m.FDs) != 0 {
			t.Errorf("%v, want %s", m.Fields, want)
		}
	}
	done := make(chan error, 1)
	go func() { done <- h.Barrier() }()
	m = hear(t, sock)
	if fmt.Sprint(m.Fields) != "map[BARRIER:1]" || len(m.FDs) != 1 {
		t.Fatalf("%v with %d descriptors", m.Fields, len(m.FDs))
	}
	select {
	case err := <-done:
		t.Fatalf("the barrier does not wait: %v", err)
	default:
	}
	m.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLateBarrier: a systemd that is busy for too long is not waited for again until it has answered, and then trusted again.
func TestLateBarrier(t *testing.T) {
	sock := systemd(t)
	h := connect(t)
	h.SetPatience(20 * time.Millisecond)
	if err := h.Barrier(); err == nil || !strings.Contains(err.Error(), "within 20ms") {
		t.Fatalf("nobody answers: %v", err)
	}
	h.SetPatience(time.Hour)
	if err := h.Barrier(); err == nil || !strings.Contains(err.Error(), "not answered yet") {
		t.Fatalf("it waits again, or does not: %v", err)
	}
	if err := h.Lost(); err != nil {
		t.Fatalf("given up: %v", err)
	}
	m := hear(t, sock)
	m.Close()
	done := make(chan error, 1)
	go func() { done <- h.Barrier() }()
	m = hear(t, sock)
	if fmt.Sprint(m.Fields) != "map[BARRIER:1]" {
		t.Errorf("%v", m.Fields)
	}
	m.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestListenFDs: what systemd's store had comes back by name.
func TestListenFDs(t *testing.T) {
	systemd(t)
	h := connect(t)
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "2")
	if kept, err := h.Inherited(); len(kept) != 0 || err != nil {
		t.Fatalf("another process's: %v, %v", kept, err)
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(unix.Getpid()))
	t.Setenv("LISTEN_FDS", "none")
	if _, err := h.Inherited(); err == nil {
		t.Fatal("no number, and no error")
	}
}

// supervised is a pair of a supervisor's socket and the holder at the other end.
func supervised(t *testing.T) (sock int, h *resume.Holder) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(resume.SupervisorVariable, strconv.Itoa(pair[1]))
	h = connect(t)
	if flags, err := unix.FcntlInt(uintptr(pair[1]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Fatal("children would inherit the socket")
	}
	return pair[0], h
}

// TestSupervisor: more descriptors than fit into one message are handed out, and none is lost or mixed up.
func TestSupervisor(t *testing.T) {
	sock, h := supervised(t)
	defer func() { _ = unix.Close(sock) }()
	var names []string
	var fds []int
	const n = 600
	for i := range n {
		fd, err := sys.Memfd("numbered", int64(i))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = fd.Close() }()
		names, fds = append(names, "n-"+strconv.Itoa(i)), append(fds, fd.Int())
	}
	sent := make(chan error, 1)
	go func() { sent <- resume.HandOut(sock, names, fds) }()
	kept, err := h.Inherited()
	if err != nil || len(kept) != n {
		t.Fatalf("%d descriptors, %v", len(kept), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for name, fd := range kept {
		var st unix.Stat_t
		if err := unix.Fstat(fd.Int(), &st); err != nil || "n-"+strconv.FormatInt(st.Size, 10) != name {
			t.Errorf("%s is number %d, %v", name, st.Size, err)
		}
		_ = fd.Close()
	}
	if err := h.Barrier(); err != nil || !h.Supervised() {
		t.Fatal(err)
	}
	if err := resume.AskHandOver(sock); err != nil {
		t.Fatal(err)
	}
	if err := h.AwaitHandOver(); err != nil {
		t.Fatal(err)
	}
}

// TestSupervisorDies: the process learns it, and from then on that nothing is kept.
func TestSupervisorDies(t *testing.T) {
	sock, h := supervised(t)
	_ = unix.Close(sock)
	if _, err := h.Inherited(); err == nil || !strings.Contains(err.Error(), "died") {
		t.Fatal(err)
	}
	if err := h.AwaitHandOver(); err == nil {
		t.Fatal("it has died, and no error")
	}
	if h.Lost() == nil || h.Store("name", 0) == nil || h.Remove("name") == nil {
		t.Fatal("nobody keeps anything, and no error")
	}
}

// TestWrongNames: as many names as descriptors, or the process does not begin.
func TestWrongNames(t *testing.T) {
	sock, h := supervised(t)
	defer func() { _ = unix.Close(sock) }()
	rights := unix.UnixRights(sock)
	if err := unix.Sendmsg(sock, []byte(resume.FieldNames+"=a:b"), rights, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Inherited(); err == nil {
		t.Fatal("two names, one descriptor, no error")
	}
}
