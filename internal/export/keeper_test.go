package export

import (
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// shelf is a supervisor that keeps what it is handed.
type shelf struct {
	mu   sync.Mutex
	kept map[string]*sys.FD
	wait sync.WaitGroup
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{kept: map[string]*sys.FD{}}
	t.Cleanup(func() {
		s.wait.Wait()
		for _, f := range s.kept {
			_ = f.Close()
		}
	})
	return s
}

// holder is the way of one process to it, until the returned function is called.
func (s *shelf) holder(t *testing.T) (*resume.Holder, func()) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Setenv(resume.SupervisorVariable, strconv.Itoa(pair[1]))
	h, err := resume.Connect()
	must(t, err)
	s.wait.Go(func() {
		defer func() { _ = unix.Close(pair[0]) }()
		for {
			m, err := resume.Receive(pair[0])
			if err != nil || len(m.Fields) == 0 {
				return
			}
			s.apply(&m)
			m.Close()
		}
	})
	return h, sync.OnceFunc(func() { _ = h.Close() })
}

func (s *shelf) apply(m *resume.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := m.Fields[resume.FieldName]
	switch {
	case m.Fields[resume.FieldStore] != "":
		_ = s.kept[name].Close()
		s.kept[name] = m.FDs[0]
		m.FDs = nil
	case m.Fields[resume.FieldRemove] != "":
		_ = s.kept[name].Close()
		delete(s.kept, name)
	}
}

// names lists what is kept.
func (s *shelf) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.kept))
}

// find returns the name of what is kept of a kind.
func (s *shelf) find(t *testing.T, part string) string {
	t.Helper()
	for _, name := range s.names() {
		if strings.Contains(name, part) {
			return name
		}
	}
	t.Fatalf("nothing of %q in %q", part, s.names())
	return ""
}

// put keeps a duplicate of fd under a name.
func (s *shelf) put(t *testing.T, name string, fd int) {
	t.Helper()
	f, err := sys.NewFD(fd).Dup()
	must(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.kept[name].Close()
	s.kept[name] = f
}

// dup is what a process that begins is given.
func (s *shelf) dup(t *testing.T, name string) *sys.FD {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.kept[name].Dup()
	must(t, err)
	return f
}

func (s *shelf) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.kept[name].Close()
	delete(s.kept, name)
}

// registry is a process that inherits what is kept.
func (s *shelf) registry(t *testing.T) *Registry {
	t.Helper()
	h, hangUp := s.holder(t)
	r, err := NewRegistry(RegistryOptions{Workers: 1, Poll: "off", Log: quiet(), Holder: h})
	must(t, err)
	kept := map[string]*sys.FD{}
	for _, name := range s.names() {
		kept[name] = s.dup(t, name)
	}
	r.Inherit(kept)
	t.Cleanup(func() {
		must(t, r.Close())
		for _, f := range r.kept {
			_ = f.Close()
		}
		hangUp()
	})
	return r
}

// edit changes the state that is kept.
func (s *shelf) edit(t *testing.T, f func(value string) string) {
	t.Helper()
	file, err := resume.OpenFile(s.dup(t, s.find(t, kindState)))
	must(t, err)
	defer func() { _ = file.Close() }()
	value, step, err := file.Load()
	must(t, err)
	must(t, file.Save([]byte(f(string(value))), step))
}

// left is a guest whose export was handed over, and what is on the shelf then.
func left(t *testing.T) (s *shelf, list string, g *clitest.Guest) {
	t.Helper()
	s = newShelf(t)
	socket := filepath.Join(t.TempDir(), "s")
	list = "socket-path=" + socket + ",lock-timeout=10s,blk-file=" + newImage(t, 1<<20)
	r := s.registry(t)
	e := start(t, r, list)
	g = clitest.Attach(t, socket, vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("status %d", status)
	}
	e.HandOver()
	must(t, e.Err())
	s.catchUp(t, e.holder)
	return s, list, g
}

// catchUp waits until the shelf has done all that it was told: nobody else waits for that.
func (s *shelf) catchUp(t *testing.T, h *resume.Holder) {
	t.Helper()
	const last = "the last word"
	mark, err := sys.EventFD()
	must(t, err)
	defer func() { _ = mark.Close() }()
	must(t, h.Store(last, mark.Int()))
	s.await(t, func(names []string) bool { return slices.Contains(names, last) })
	must(t, h.Remove(last))
	s.await(t, func(names []string) bool { return !slices.Contains(names, last) })
}

// TestInheritedSession: the next process goes on with what the one before left, and tidies up what others left.
func TestInheritedSession(t *testing.T) {
	s, list, g := left(t)
	state := s.find(t, kindState)
	prefix, session, _ := strings.Cut(state, kindState)
	unknown, err := sys.EventFD()
	must(t, err)
	defer func() { _ = unknown.Close() }()
	litter := []string{
		prefix + kindFile + session + "-99", // stored, and not in any state
		prefix + kindState + "0",            // an older session whose end was not heard of
		prefix + kindFile + "0-1",
	}
	for _, name := range litter {
		s.put(t, name, unknown.Int())
	}
	r := s.registry(t)
	start(t, r, list)
	if status := g.Do(0, clitest.In, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.await(t, func(names []string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(litter, n) })
	})
	must(t, g.Disconnect())
	s.await(t, onlyTheSocket)
}

func onlyTheSocket(names []string) bool {
	return len(names) == 1 && strings.HasSuffix(names[0], kindListen)
}

func (s *shelf) await(t *testing.T, cond func(names []string) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(s.names()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the shelf has %q", s.names())
		}
	}
}

// TestUselessHeritage: what cannot be resumed is given up with its connection, and the export listens.
func TestUselessHeritage(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *shelf){
		"another export":       func(t *testing.T, s *shelf) { s.edit(t, rename) },
		"no JSON":              func(t *testing.T, s *shelf) { s.edit(t, func(string) string { return "{" }) },
		"no session":           func(t *testing.T, s *shelf) { s.edit(t, func(string) string { return "{}" }) },
		"a descriptor missing": func(t *testing.T, s *shelf) { s.drop(s.find(t, kindFile)) },
		"never kept":           func(t *testing.T, s *shelf) { s.unkeep(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s, list, g := left(t)
			spoil(t, s)
			r := s.registry(t)
			e := start(t, r, list)
			await(t, e, Listening)
			s.await(t, onlyTheSocket)
			if _, err := g.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("%v, want the end of the connection", err)
			}
			must(t, clitest.Dial(t, e.def.Socket.Path).Close())
		})
	}
}

func rename(value string) string {
	return strings.Replace(value, `"export":"s"`, `"export":"another"`, 1)
}

func (s *shelf) unkeep(t *testing.T) {
	t.Helper()
	file, err := resume.OpenFile(s.dup(t, s.find(t, kindState)))
	must(t, err)
	must(t, file.Clear())
	must(t, file.Close())
}

// TestTooNewHeritage: it stays with the holder for the program that knows it.
func TestTooNewHeritage(t *testing.T) {
	s, list, g := left(t)
	s.edit(t, func(value string) string { return strings.Replace(value, `"needs":1`, `"needs":99`, 1) })
	before := s.names()
	r := s.registry(t)
	if _, err := r.Create(define(t, list)); !errors.Is(err, errTooNew) {
		t.Fatalf("%v, want errTooNew", err)
	}
	must(t, r.Close())
	if after := s.names(); !slices.Equal(before, after) {
		t.Errorf("the shelf had %q and has %q", before, after)
	}
	s.edit(t, func(value string) string { return strings.Replace(value, `"needs":99`, `"needs":1`, 1) })
	start(t, s.registry(t), list)
	if status := g.Do(0, clitest.Flush, 0, nil); status != clitest.StatusOK {
		t.Fatalf("status %d", status)
	}
}

// TestKeepFails: no older state stays behind for a successor to believe.
func TestKeepFails(t *testing.T) {
	s := newShelf(t)
	h, hangUp := s.holder(t)
	defer hangUp()
	file, err := resume.NewFile()
	must(t, err)
	e := &Export{parts: parts{disk: unstable{}}}
	k := &keeper{holder: h, prefix: "p-", session: "1", file: file, stored: map[uint64]bool{}, log: quiet(), encode: e.encode}
	defer k.close()
	must(t, k.Keep(&vhostuser.State{}))
	if _, _, err := file.Load(); err != nil {
		t.Fatal(err)
	}
	hangUp()
	if err := k.Keep(&vhostuser.State{Conn: vhostuser.Descriptor{ID: 1, FD: file.FD()}}); err == nil {
		t.Fatal("nobody keeps it, and no error")
	}
	if _, _, err := file.Load(); !errors.Is(err, resume.ErrNoValue) {
		t.Errorf("%v, want ErrNoValue", err)
	}
}

// TestKeptAfterAll has systemd hear nothing for a while: the session's next state is kept, and has waited for the descriptors
// of this one, too.
func TestKeptAfterAll(t *testing.T) {
	systemd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(systemd) }()
	path := filepath.Join(t.TempDir(), "notify")
	must(t, unix.Bind(systemd, &unix.SockaddrUnix{Name: path}))
	t.Setenv("NOTIFY_SOCKET", path)
	h, err := resume.Connect()
	must(t, err)
	defer func() { _ = h.Close() }()
	file, err := resume.NewFile()
	must(t, err)
	e := &Export{parts: parts{disk: unstable{}}}
	k := &keeper{holder: h, prefix: "p-", session: "1", file: file, stored: map[uint64]bool{}, log: quiet(), encode: e.encode}
	defer k.close()
	st := &vhostuser.State{Conn: vhostuser.Descriptor{ID: 1, FD: file.FD()}}
	for range 2 {
		if err := k.Keep(st); err == nil {
			t.Fatal("systemd does not answer, and no error")
		}
		if _, _, err := file.Load(); !errors.Is(err, resume.ErrNoValue) {
			t.Errorf("%v, want ErrNoValue", err)
		}
	}
	barriers, done := 0, make(chan error, 1)
	read := func() {
		m, err := resume.Receive(systemd)
		must(t, err)
		if m.Fields[resume.FieldBarrier] != "" {
			barriers++
		}
		m.Close()
	}
	read() // the descriptor
	read() // the barrier that came too late
	go func() { done <- k.Keep(st) }()
	read()
	must(t, <-done)
	if _, _, err := file.Load(); err != nil || barriers != 2 {
		t.Errorf("%v after %d barriers", err, barriers)
	}
}
