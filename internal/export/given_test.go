package export

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// ownDisk is a Disk of an embedding program: in memory, with a size that it may change, and an eye on its end.
type ownDisk struct {
	*blk.Mem
	size   atomic.Int64
	closed atomic.Bool
}

func newOwnDisk(t *testing.T, room, size int64) *ownDisk {
	t.Helper()
	mem, err := blk.NewMem(room)
	if err != nil {
		t.Fatal(err)
	}
	d := &ownDisk{Mem: mem}
	d.size.Store(size)
	t.Cleanup(func() { _ = mem.Close() })
	return d
}

func (d *ownDisk) Info() blk.DiskInfo {
	info := d.Mem.Info()
	info.Name, info.Size = "own", d.size.Load()
	return info
}

func (d *ownDisk) Close() error {
	d.closed.Store(true)
	return nil
}

func given(path string) Definition {
	d := NewDefinition()
	d.Socket.Path = path
	return d
}

func startGiven(t *testing.T, r *Registry, d Definition, g Given) *Export {
	t.Helper()
	e, err := r.CreateGiven(d, g)
	if err != nil {
		t.Fatal(err)
	}
	e.Start()
	if !e.Listened() {
		t.Fatal(e.Err())
	}
	return e
}

func TestGivenDiskIsServedAndStaysTheCallers(t *testing.T) {
	r := newRegistry(t)
	disk, path := newOwnDisk(t, 2*mib, mib), filepath.Join(t.TempDir(), "mine.sock")
	e := startGiven(t, r, given(path), Given{Disk: disk})
	s := &served{t: t, Export: e, socket: path, guest: clitest.Attach(t, path, vhostusertest.Options{})}
	s.told(1)
	s.sees(mib)
	disk.size.Store(2 * mib)
	if got, err := e.Resize(false); err != nil || got != (Resized{Old: mib, New: 2 * mib}) {
		t.Fatalf("%+v, %v", got, err)
	}
	s.told(1)
	s.sees(2 * mib)
	disk.size.Store(mib)
	if got, err := e.Resize(false); err == nil || capacity(e) != 2*mib {
		t.Fatalf("shrunk without a word: %+v", got)
	}
	if _, err := BeginTakeOver(e.Definition()); err == nil || !strings.Contains(err.Error(), "cannot be taken over") {
		t.Fatalf("taken over: %v", err)
	}
	if err := Release(path); err == nil {
		t.Fatal("released, and there is no image")
	}
	if status := s.guest.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("after that: status %d", status)
	}
	if err := r.Remove("mine"); err != nil || disk.closed.Load() {
		t.Fatalf("%v, closed %v", err, disk.closed.Load())
	}
	if _, err := e.Resize(false); !errors.Is(err, ErrNotServing) {
		t.Fatalf("resize after the end: %v", err)
	}
	startGiven(t, r, given(path), Given{Disk: disk}) // again
}

func TestGivenListener(t *testing.T) {
	r := newRegistry(t)
	path := filepath.Join(t.TempDir(), "mine.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	e := startGiven(t, r, given(""), Given{Disk: newOwnDisk(t, mib, mib), Listener: l})
	if e.Definition().Name != "mine" {
		t.Errorf("called %q", e.Definition().Name)
	}
	front := clitest.Dial(t, path)
	defer func() { _ = front.Close() }()
	await(t, e, Attached)
	if err := r.Remove("mine"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the socket's name stayed")
	}
}

// TestGivenFileIsGivenFree: a file that the program has opened is another's as soon as the front-end has gone, and can be
// served again.
func TestGivenFileIsGivenFree(t *testing.T) {
	dir := t.TempDir()
	path, image := filepath.Join(dir, "mine.sock"), filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(image, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := blk.OpenFile(context.Background(), image, blk.FileOptions{Identity: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for range 2 {
		r := newRegistry(t)
		e := startGiven(t, r, given(path), Given{Disk: file})
		front, err := vhostusertest.Connect(path, vhostusertest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := front.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := 0; !file.Locked(); deadline++ { // the second time a ring that starts takes the lock
			if _, err := front.Config(0, 8); err != nil || deadline > 1e5 {
				t.Fatalf("never locked: %v", err)
			}
		}
		if _, err := blk.OpenFile(context.Background(), image, blk.FileOptions{Identity: "another"}); err == nil {
			t.Fatal("opened while it is served")
		}
		if err := front.Close(); err != nil {
			t.Fatal(err)
		}
		await(t, e, Listening)
		if file.Locked() {
			t.Fatal("locked although the front-end has gone")
		}
		if err := r.Remove("mine"); err != nil {
			t.Fatal(err)
		}
		other, err := blk.OpenFile(context.Background(), image, blk.FileOptions{Identity: "another"})
		if err != nil {
			t.Fatal(err)
		}
		_ = other.Close()
	}
}

// values is a Disk of a type that Go cannot compare.
type values struct {
	*blk.Null
	_ []byte
}

func TestGivenIsChecked(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	disk, odd := newOwnDisk(t, mib, mib), values{Null: blk.NewNull(mib)}
	startGiven(t, r, given(filepath.Join(dir, "a")), Given{Disk: disk})
	startGiven(t, r, given(filepath.Join(dir, "b")), Given{Disk: odd})
	startGiven(t, r, given(filepath.Join(dir, "c")), Given{Disk: odd})
	file := given(filepath.Join(dir, "d"))
	file.Disk.File = "disk.raw"
	for want, c := range map[string]struct {
		d Definition
		g Given
	}{
		"export a serves the same Disk": {given(filepath.Join(dir, "d")), Given{Disk: disk}},
		"contradicts the Disk":          {file, Given{Disk: odd}},
		"disk: missing":                 {given(filepath.Join(dir, "d")), Given{}},
		"socket-path: missing":          {NewDefinition(), Given{Disk: odd}},
		"has this socket already":       {given(filepath.Join(dir, "..", filepath.Base(dir), "a")), Given{Disk: odd}},
	} {
		var option *OptionError
		if c.d.Name == "" {
			c.d.Name = "new"
		}
		if _, err := r.CreateGiven(c.d, c.g); !errors.As(err, &option) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	path := filepath.Join(dir, "e")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateGiven(given(""), Given{Listener: l}); err == nil {
		t.Fatal("without a Disk")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the listener that was refused is not closed")
	}
}
