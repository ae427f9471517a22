package export

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

// together starts exports of these definitions at once.
func together(t *testing.T, r *Registry, lists ...string) []*Export {
	t.Helper()
	var all []*Export
	for _, list := range lists {
		e, err := r.Create(define(t, list))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	Start(all...)
	return all
}

// staysUnready looks for a moment whether e lets front-ends in.
func staysUnready(t *testing.T, e *Export) {
	t.Helper()
	select {
	case <-e.Ready():
		t.Fatalf("went on to %v (listened: %v)", e.State(), e.Listened())
	case <-time.After(100 * time.Millisecond):
	}
	if e.State() != WaitingForLock {
		t.Fatalf("state %v", e.State())
	}
}

// An export whose image is locked ends before another one, that is to begin with it, has a socket.
func TestStartTogetherWaitsForAllDisks(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "a")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	holder, err := blk.OpenFile(t.Context(), file, blk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close() }()
	all := together(t, r, "store=mem:1M,socket-path="+socket, "lock-timeout=200ms,blk-file="+file+",socket-path="+filepath.Join(dir, "b"))
	if err := all[1].Err(); err == nil || !strings.Contains(err.Error(), "is locked by") {
		t.Fatal(err)
	}
	staysUnready(t, all[0])
	if _, err := os.Lstat(socket); err == nil {
		t.Fatal("a socket is there already")
	}
	if err := r.Remove("a"); err != nil || all[0].Listened() {
		t.Fatalf("%v, listened %v", err, all[0].Listened())
	}
}

// An export whose socket is somebody else's ends before another one lets a front-end in.
func TestStartTogetherWaitsForAllSockets(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	busy, err := net.Listen("unix", filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	all := together(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "a"), "store=mem:1M,socket-path="+filepath.Join(dir, "b"))
	if err := all[1].Err(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	staysUnready(t, all[0])
}

func TestStartTogetherListens(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	first := start(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "a"))
	all := together(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "b"), "store=mem:1M,socket-path="+filepath.Join(dir, "c"))
	Start(append(all, first)...) // changes nothing
	for _, e := range all {
		if !e.Listened() {
			t.Fatal(e.Err())
		}
	}
	fourth := together(t, r, "store=mem:1M,socket-path="+filepath.Join(dir, "d"))[0]
	if !fourth.Listened() {
		t.Fatal(fourth.Err())
	}
}

// said closes itself when a line with a text is logged.
type said struct {
	text string
	once sync.Once
	ch   chan struct{}
}

func (s *said) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.text) {
		s.once.Do(func() { close(s.ch) })
	}
	return len(b), nil
}

// Whoever has the image while an export waits for it may change its size, or leave another one in its place.
func TestStartLooksAgainWhenItHasTheLock(t *testing.T) {
	e, err := startAfterAnother(t, func(path string) error { return os.Truncate(path, 2<<20) })
	if err != nil || e.parts.info.Size != 2<<20 || capacity(e) != 2<<20 {
		t.Errorf("%v; the disk has %d bytes, the device %d", err, e.parts.info.Size, capacity(e))
	}
	_, err = startAfterAnother(t, func(path string) error {
		if err := os.Rename(path, path+".old"); err != nil {
			return err
		}
		return os.WriteFile(path, make([]byte, 1<<20), 0o600)
	})
	if err == nil || !strings.Contains(err.Error(), "another has taken its place") {
		t.Error(err)
	}
}

// startAfterAnother starts an export on an image that somebody else has, and changes before it lets go. The error is
// that of an export that could not begin.
func startAfterAnother(t *testing.T, change func(path string) error) (*Export, error) {
	t.Helper()
	waits := &said{text: "waiting for the image's lock", ch: make(chan struct{})}
	r, err := NewRegistry(RegistryOptions{Workers: 1, Poll: "off", Log: slog.New(slog.NewTextHandler(waits, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	file := newImage(t, 1<<20)
	holder, err := blk.OpenFile(t.Context(), file, blk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := together(t, r, "blk-file="+file+",socket-path="+filepath.Join(t.TempDir(), "s"))[0]
	<-waits.ch
	if err := change(file); err != nil {
		t.Error(err)
	}
	if err := holder.Close(); err != nil {
		t.Error(err)
	}
	if !e.Listened() {
		return e, e.Err()
	}
	return e, nil
}
