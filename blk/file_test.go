package blk_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

func TestOpenFileSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	make0 := func(name string, size int64) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, path string
		opt        blk.FileOptions
		want       string
	}{
		{"missing", filepath.Join(dir, "none"), blk.FileOptions{}, "vublk create"},
		{"directory", dir, blk.FileOptions{}, "is a directory"},
		{"character device", "/dev/null", blk.FileOptions{}, "neither a regular file nor a block device"},
		{"empty", make0("empty", 0), blk.FileOptions{}, "is empty"},
		{"odd size", make0("odd", 1000), blk.FileOptions{}, "truncate -s"},
		{"odd size, buffered", make0("odd2", 1000), blk.FileOptions{Buffered: true}, "grow it to 1024 bytes"},
		{"no direct I/O", "/proc/self/maps", blk.FileOptions{ReadOnly: true}, "direct"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := blk.OpenFile(context.Background(), c.path, c.opt)
			if err == nil {
				_ = d.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("error %q names neither %q nor the path", err, c.want)
			}
		})
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := newFile(t, mib)
	ctx := context.Background()
	open := func(readOnly bool, id string) (*blk.FileDisk, error) {
		return blk.OpenFile(ctx, path, blk.FileOptions{ReadOnly: readOnly, Identity: id})
	}
	for _, c := range []struct {
		name          string
		first, second bool // read-only
		sameID        bool
		together      bool
	}{
		{"two writers", false, false, false, false},
		{"writer, then reader", false, true, false, false},
		{"reader, then writer", true, false, false, false},
		{"two readers", true, true, false, true},
		{"a reader and its successor", true, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := open(c.first, "a")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Close() }()
			id := "b"
			if c.sameID {
				id = "a"
			}
			b, err := open(c.second, id)
			if err == nil {
				_ = b.Close()
			}
			if (err == nil) != c.together {
				t.Fatalf("second open: %v", err)
			}
			var locked *blk.LockedError
			if !c.together && (!errors.As(err, &locked) || !strings.Contains(err.Error(), "pid ")) {
				t.Errorf("error %q does not name the holder", err)
			}
		})
	}
}

func TestLockIsWaitedFor(t *testing.T) {
	path := newFile(t, mib)
	a := openFile(t, path, blk.FileOptions{})
	opened := make(chan error, 1)
	go func() {
		b, err := blk.OpenFile(context.Background(), path, blk.FileOptions{LockTimeout: waitLong})
		if err == nil {
			err = b.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	a.Unlock()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

func TestLockWaitIsCancelled(t *testing.T) {
	path := newFile(t, mib)
	openFile(t, path, blk.FileOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := blk.OpenFile(ctx, path, blk.FileOptions{LockTimeout: waitLong}); !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = d.Close()
		}
		t.Fatalf("error %v, want context.Canceled", err)
	}
}

func TestUnlockedOpenLocksLater(t *testing.T) {
	path := newFile(t, mib)
	a := openFile(t, path, blk.FileOptions{})
	b := openFile(t, path, blk.FileOptions{Unlocked: true})
	var locked *blk.LockedError
	if err := b.Lock(context.Background()); !errors.As(err, &locked) {
		t.Fatalf("lock: %v, want a LockedError", err)
	}
	if !a.Locked() || b.Locked() {
		t.Errorf("locked: %v and %v, want the first", a.Locked(), b.Locked())
	}
	a.Unlock()
	if err := b.Lock(context.Background()); err != nil {
		t.Fatal(err)
	}
	if a.Locked() || !b.Locked() {
		t.Errorf("locked: %v and %v, want the second", a.Locked(), b.Locked())
	}
}

func TestDescribeFile(t *testing.T) {
	path := newFile(t, 8*mib)
	info := openFile(t, path, blk.FileOptions{}).Info()
	if info.Size != 8*mib || info.Block || !info.VolatileCache || info.OffsetAlign == 0 || info.OffsetAlign&(info.OffsetAlign-1) != 0 {
		t.Errorf("%+v", info)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 8*mib || info.DiscardGranularity == 0 {
		t.Errorf("size %d after probing, discard granularity %d", st.Size, info.DiscardGranularity)
	}
}

func TestDeviceOptionsSayWhatIsWrong(t *testing.T) {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	for _, c := range []struct {
		opt  blk.DeviceOptions
		size int64
		want string
	}{
		{blk.DeviceOptions{NumQueues: 257}, mib, "257 queues"},
		{blk.DeviceOptions{NumQueues: -1}, mib, "-1 queues"},
		{blk.DeviceOptions{LogicalBlockSize: 1000}, mib, "power of two"},
		{blk.DeviceOptions{LogicalBlockSize: 256}, mib, "power of two"},
		{blk.DeviceOptions{LogicalBlockSize: 4096, PhysicalBlockSize: 512}, mib, "physical block size 512"},
		{blk.DeviceOptions{LogicalBlockSize: 4096}, mib + 512, "grow it to 1052672 bytes"},
		{blk.DeviceOptions{Serial: "one byte more than 20"}, mib, "at most 20 fit"},
		{blk.DeviceOptions{Cache: "none"}, mib, `"none"`},
		{blk.DeviceOptions{MaxDiscardSegs: 1000}, mib, "1000 segments"},
	} {
		d, err := pool.NewDevice(blk.NewNull(c.size), c.opt)
		if err == nil {
			_ = d.Close()
			t.Errorf("%+v was accepted", c.opt)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %q does not say %q", err, c.want)
		}
	}
}

// oddDisk says of itself what it is told to.
type oddDisk struct {
	blk.Null
	info blk.DiskInfo
}

func (d *oddDisk) Info() blk.DiskInfo { return d.info }

func TestDisksThatCannotBe(t *testing.T) {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	for want, info := range map[string]blk.DiskInfo{
		"it has 0 bytes":    {},
		"it has -512 bytes": {Size: -512}, // in sectors nearly as many as fit into 64 bits
		"aligned to 1000":   {Size: mib, OffsetAlign: 1000},
		"its memory to 513": {Size: mib, MemAlign: 513},
		"in units of 4096":  {Size: mib + 512, OffsetAlign: 4096},
		"a whole number":    {Size: 1000},
	} {
		d, err := pool.NewDevice(&oddDisk{info: info}, blk.DeviceOptions{})
		if err == nil {
			_ = d.Close()
			t.Errorf("%+v was accepted", info)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestParsePoll(t *testing.T) {
	for s, want := range map[string]string{"auto": "auto", "": "auto", "off": "off", "50us": "50µs", "1ms": "1ms"} {
		m, err := blk.ParsePoll(s)
		if err != nil || m.String() != want {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"on", "-1us", "0s", "1h", "50"} {
		if _, err := blk.ParsePoll(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}
