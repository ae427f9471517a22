package export

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

func newImage(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openUnlocked opens an image without its lock.
func openUnlocked(t *testing.T, path string) *blk.FileDisk {
	t.Helper()
	file, err := blk.OpenFile(t.Context(), path, blk.FileOptions{Unlocked: true, LockTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func newDevice(t *testing.T, r *Registry, disk blk.Disk) *blk.Device {
	t.Helper()
	d, err := r.pool.NewDevice(disk, blk.DeviceOptions{
		Name: "test", NumQueues: 1, LogicalBlockSize: blk.SectorSize, Cache: blk.CacheWriteback, Log: quiet(), Fail: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The image was another user's for a while: when it is not the same afterwards, or has shrunk, the session ends, and the
// lock is free. One that has grown is served, with the size it has now if that can be.
func TestGateRefusesAnotherImage(t *testing.T) {
	resize := func(size int64) func(string) error {
		return func(path string) error {
			if err := os.Link(path, path+".old"); err != nil {
				return err
			}
			return os.Truncate(path, size)
		}
	}
	for name, c := range map[string]struct {
		change      func(path string) error
		allowShrink bool
		want        string
		size        int64
		told        int
	}{
		"the same": {func(string) error { return nil }, false, "", 1 << 20, 0},
		"replaced": {func(path string) error {
			if err := os.Rename(path, path+".old"); err != nil {
				return err
			}
			return os.WriteFile(path, make([]byte, 1<<20), 0o600)
		}, true, "another has taken its place: restart vublk", 1 << 20, 0},
		"grown":             {resize(2 << 20), false, "", 2 << 20, 1},
		"grown to an odd":   {resize(2<<20 + 1), false, "", 1 << 20, 0},
		"shrunk":            {resize(1 << 19), false, "has 524288 bytes now, the guest knows 1048576", 1 << 20, 0},
		"shrunk, as it may": {resize(1 << 19), true, "", 1 << 19, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, path := newRegistry(t), newImage(t, 1<<20)
			file := openUnlocked(t, path)
			device := newDevice(t, r, file)
			defer func() { _ = device.Close() }()
			said := ""
			g := newGate(device, file, false, func(err error) { said = err.Error() })
			told := 0
			g.changed, g.sizes.allowShrink = func() { told++ }, c.allowShrink
			if err := c.change(path); err != nil {
				t.Fatal(err)
			}
			g.acquire(context.Background(), make(chan struct{}))
			if (said == "") != (c.want == "") || !strings.Contains(said, c.want) || g.locked.Load() != (c.want == "") {
				t.Fatalf("the session ended with %q, want %q; locked %v", said, c.want, g.locked.Load())
			}
			if got := capacity(&Export{parts: parts{device: device}}); got != c.size || told != c.told {
				t.Errorf("size %d, want %d; the front-end was told %d times, want %d", got, c.size, told, c.told)
			}
			if c.want == "" {
				return
			}
			next, err := blk.OpenFile(t.Context(), path+".old", blk.FileOptions{Identity: "next"})
			if err != nil {
				t.Fatalf("the lock of the old image was kept: %v", err)
			}
			if err := next.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// unstable takes writes that it cannot make stable.
type unstable struct{ blk.Disk }

func (unstable) ReadAt(context.Context, []byte, int64) error    { return nil }
func (unstable) WriteAt(context.Context, []byte, int64) error   { return nil }
func (unstable) Flush(context.Context) error                    { return errors.New("no flush today") }
func (unstable) Zero(context.Context, int64, int64, bool) error { return nil }
func (unstable) Info() blk.DiskInfo                             { return unstableInfo }
func (unstable) Close() error                                   { return nil }

var unstableInfo = blk.DiskInfo{Name: "unstable", Size: 1 << 20, VolatileCache: true, OffsetAlign: 1, MemAlign: 1}

// unstableSession is one whose guest has written what cannot be made stable.
type unstableSession struct {
	gate  *gate
	guest *clitest.Guest
	ended chan error
}

// writeUnstable runs it, with a gate before the image at path.
func writeUnstable(t *testing.T, path string) *unstableSession {
	t.Helper()
	r := newRegistry(t)
	e, err := r.Create(define(t, "store=mem:1M,num-queues=1,fd=19999"))
	if err != nil {
		t.Fatal(err)
	}
	device := newDevice(t, r, unstable{})
	e.parts = parts{device: device, gate: newGate(device, openUnlocked(t, path), false, e.fail)}
	e.state.change(WaitingForLock)
	e.state.change(Listening)

	ours, theirs := pair(t, unix.SOCK_STREAM)
	s := &unstableSession{gate: e.parts.gate, ended: make(chan error, 1)}
	go func() { s.ended <- e.attend(connOf(t, ours)) }()
	s.guest = clitest.AttachTo(t, vhostusertest.NewConn(connOf(t, theirs)), vhostusertest.Options{})
	if status := s.guest.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
	return s
}

// losesWrites ends it, and wants that to be said.
func (s *unstableSession) losesWrites(t *testing.T) {
	t.Helper()
	if err := s.guest.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "writes may be lost") {
		t.Fatal(err)
	}
}

// A session that ends while the lock is waited for ends the wait too, even when its writes cannot be made stable.
func TestFailedFlushEndsTheWaitForTheLock(t *testing.T) {
	path := newImage(t, 1<<20)
	holder, err := blk.OpenFile(t.Context(), path, blk.FileOptions{Identity: "holder"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close() }()
	s := writeUnstable(t, path)
	s.losesWrites(t)
	select {
	case <-s.gate.ended:
	default:
		t.Fatal("the lock is still waited for")
	}
	if s.gate.cancel != nil {
		t.Fatal("the next session would not wait for the lock")
	}
}

func connOf(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		t.Error(err)
		return nil
	}
	return c.(*net.UnixConn)
}
