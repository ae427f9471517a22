package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
)

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry(RegistryOptions{Workers: 1, Poll: "off", Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, e := range r.List() {
			t.Errorf("export %s is left", e.def.Name)
		}
	})
	return r
}

// start creates and starts an export, and waits until it listens.
func start(t *testing.T, r *Registry, list string) *Export {
	t.Helper()
	e, err := r.Create(define(t, list))
	if err != nil {
		t.Fatal(err)
	}
	e.Start()
	if !e.Listened() {
		t.Fatal(e.Err())
	}
	return e
}

// await polls until the export is in a state.
func await(t *testing.T, e *Export, want State) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); e.State() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("state is %v, want %v", e.State(), want)
		}
	}
}

func TestExportLife(t *testing.T) {
	r := newRegistry(t)
	path := filepath.Join(t.TempDir(), "disk.sock")
	e, err := r.Create(define(t, "store=mem:1M,socket-path="+path))
	if err != nil {
		t.Fatal(err)
	}
	if e.State() != Created || e.Definition().Name != "disk" {
		t.Fatalf("%v, %+v", e.State(), e.Definition())
	}
	e.Start()
	e.Start() // changes nothing
	if !e.Listened() {
		t.Fatal(e.Err())
	}
	for range 3 {
		front := clitest.Dial(t, path)
		await(t, e, Attached)
		if err := front.Close(); err != nil {
			t.Fatal(err)
		}
		await(t, e, Listening)
	}
	front := clitest.Dial(t, path)
	defer func() { _ = front.Close() }()
	await(t, e, Attached)
	if err := r.Remove("disk"); err != nil {
		t.Fatal(err)
	}
	if e.State() != Closed || e.Err() != nil {
		t.Fatalf("%v, %v", e.State(), e.Err())
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the socket's name stayed")
	}
	if err := r.Remove("disk"); err == nil {
		t.Fatal("removed twice")
	}
}

func TestSecondFrontEndWaits(t *testing.T) {
	r := newRegistry(t)
	path := filepath.Join(t.TempDir(), "disk.sock")
	e := start(t, r, "store=null:1M,socket-path="+path)
	first := clitest.Dial(t, path)
	await(t, e, Attached)
	second := clitest.Dial(t, path) // the backlog takes it
	session := e.session.Load()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if now := e.session.Load(); now != nil && now != session {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the second front-end never had its turn")
		}
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailEndsTheSessionOnly(t *testing.T) {
	r := newRegistry(t)
	path := filepath.Join(t.TempDir(), "disk.sock")
	e := start(t, r, "store=null:1M,socket-path="+path)
	e.fail(os.ErrInvalid) // nobody there: nothing happens
	front := clitest.Dial(t, path)
	defer func() { _ = front.Close() }()
	await(t, e, Attached)
	for e.session.Load() == nil { // Attached comes a moment before
		time.Sleep(time.Millisecond)
	}
	e.fail(os.ErrInvalid)
	if n, err := front.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d, %v; want the end", n, err)
	}
	await(t, e, Listening)
}

func TestConnectedDescriptorServesOnce(t *testing.T) {
	r := newRegistry(t)
	ours, theirs := pair(t, unix.SOCK_STREAM)
	d := define(t, "store=mem:1M")
	d.Socket.FD = ours
	e, err := r.Create(d)
	if err != nil {
		t.Fatal(err)
	}
	e.Start()
	shut(t, theirs)
	if err := e.Err(); err != nil || e.State() != Closed || !e.Listened() {
		t.Fatalf("%v, %v", e.State(), err)
	}
	// What has ended stands in nobody's way.
	path := filepath.Join(t.TempDir(), "mem.sock")
	start(t, r, "store=mem:1M,socket-path="+path)
}

func TestCreateRefuses(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	start(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "a.sock"))
	for list, want := range map[string]string{
		"store=mem:1M": "socket-path: missing",
		"store=mem:1M,name=b,socket-path=" + filepath.Join(dir, "a.sock"): "has this socket already",
		"store=mem:1M,socket-path=" + filepath.Join(dir, "a.other"):       "two exports have this name",
	} {
		if _, err := r.Create(define(t, list)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", list, err, want)
		}
	}
	// Created, never started: Close takes it too.
	if _, err := r.Create(define(t, "store=mem:1M,socket-path="+filepath.Join(dir, "c.sock"))); err != nil {
		t.Fatal(err)
	}
}

func TestOpenFailures(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := blk.OpenFile(t.Context(), file, blk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ list, want string }{
		"no file":     {"socket-path=DIR/s,blk-file=DIR/none", "does not exist"},
		"no socket":   {"socket-path=DIR/plain,store=mem:1M", "not a socket"},
		"bad fd":      {"fd=19999,store=mem:1M", "no such descriptor"},
		"locked":      {"socket-path=DIR/s,lock-timeout=0,blk-file=DIR/disk.raw", "is locked by"},
		"no such dir": {"socket-path=DIR/none/s,store=mem:1M", "none/s"},
	} {
		e, err := r.Create(define(t, strings.ReplaceAll(c.list, "DIR", dir)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e.Start()
		if e.Listened() || e.Err() == nil || !strings.Contains(e.Err().Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, e.Err(), c.want)
		}
	}
	// Waiting for the lock, then told to stop: no error.
	e, err := r.Create(define(t, "name=w,lock-timeout=60s,blk-file="+file+",socket-path="+filepath.Join(dir, "w")))
	if err != nil {
		t.Fatal(err)
	}
	e.Start()
	await(t, e, WaitingForLock)
	if err := r.Remove("w"); err != nil || e.Listened() {
		t.Fatalf("listened %v, %v", e.Listened(), err)
	}
}

// What is being removed keeps its name, and Close waits for it, until it has ended.
func TestRemoveForgetsAtTheEnd(t *testing.T) {
	r := newRegistry(t)
	path := filepath.Join(t.TempDir(), "disk.sock")
	e, err := r.Create(define(t, "store=mem:1M,socket-path="+path))
	if err != nil {
		t.Fatal(err)
	}
	e.started.Store(true) // this test is the runner, and takes its time
	removed, closed := make(chan error, 1), make(chan error, 1)
	go func() { removed <- r.Remove("disk") }()
	<-e.ctx.Done()
	if _, err := r.Create(e.def); err == nil || !strings.Contains(err.Error(), "two exports have this name") {
		t.Fatalf("a second one beside it: %v", err)
	}
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("the workers ended under it: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	e.close(nil)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

// TestEndOfWhatNeverListened: an image that is not there loses nothing, also when it is looked for at that moment.
func TestEndOfWhatNeverListened(t *testing.T) {
	for _, listened := range []bool{false, true} {
		r := newRegistry(t)
		e, err := r.Create(define(t, "store=mem:1M,socket-path="+filepath.Join(t.TempDir(), "disk.sock")))
		if err != nil {
			t.Fatal(err)
		}
		e.started.Store(true) // this test is the runner
		ended := make(chan error, 1)
		go func() { ended <- r.End(e) }()
		<-e.ctx.Done()
		if listened {
			e.listened = true
			close(e.ready)
		}
		e.close(errors.New("not as it should be"))
		if err := <-ended; (err != nil) != listened {
			t.Errorf("listened: %v: error %v", listened, err)
		}
	}
}

func TestCloseLetsNothingBeCreated(t *testing.T) {
	r := newRegistry(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(define(t, "store=mem:1M,socket-path=s")); err == nil || !strings.Contains(err.Error(), "being ended") {
		t.Fatal(err)
	}
}

func TestNewRegistryRefusesAWrongPoll(t *testing.T) {
	for poll, want := range map[string]string{
		"sometimes": "neither auto, off, nor a duration", "20ms": "up to 10ms",
	} {
		if _, err := NewRegistry(RegistryOptions{Workers: 1, Poll: poll, Log: quiet()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", poll, err, want)
		}
	}
}
