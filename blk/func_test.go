package blk_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// goDisk is a FuncDisk in Go memory that counts and fails as told.
type goDisk struct {
	mu      sync.Mutex
	data    []byte
	flushes int
	fail    error
	gate    chan struct{} // when set, calls wait here
}

func (d *goDisk) Info() blk.DiskInfo {
	return blk.DiskInfo{Name: "go", Size: int64(len(d.data)), VolatileCache: true, DiscardGranularity: 512}
}
func (d *goDisk) Close() error { return nil }

func (d *goDisk) enter(ctx context.Context) error {
	if d.gate != nil {
		select {
		case <-d.gate:
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.fail
}

func (d *goDisk) flushed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes
}

func (d *goDisk) bytes(off, n int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.data[off : off+n])
}

func (d *goDisk) ReadAt(ctx context.Context, p []byte, off int64) error {
	defer d.mu.Unlock()
	if err := d.enter(ctx); err != nil {
		return err
	}
	copy(p, d.data[off:])
	return nil
}

func (d *goDisk) WriteAt(ctx context.Context, p []byte, off int64) error {
	defer d.mu.Unlock()
	if err := d.enter(ctx); err != nil {
		return err
	}
	copy(d.data[off:], p)
	return nil
}

func (d *goDisk) Flush(ctx context.Context) error {
	defer d.mu.Unlock()
	if err := d.enter(ctx); err != nil {
		return err
	}
	d.flushes++
	return nil
}

func (d *goDisk) Zero(ctx context.Context, off, n int64, _ bool) error {
	defer d.mu.Unlock()
	if err := d.enter(ctx); err != nil {
		return err
	}
	clear(d.data[off : off+n])
	return nil
}

func TestFuncDisk(t *testing.T) {
	d := &goDisk{data: make([]byte, 4*mib)}
	r := newRig(t, d, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
	want := bytes.Repeat([]byte("plain Go"), mib/8)
	r.write(1, 3, want)
	if got := r.read(0, 3, len(want)); !bytes.Equal(got, want) || !bytes.Equal(d.bytes(3*512, mib), want) {
		t.Fatal("content differs")
	}
	if a := r.request(0, blk.RequestWriteZeroes, 0, segment(3, 2, 0), 0); a.status != 0 || d.bytes(3*512, 1)[0] != 0 || d.bytes(5*512, 1)[0] == 0 {
		t.Errorf("zeroes: status %d", a.status)
	}
	if a := r.request(1, blk.RequestFlush, 0, nil, 0); a.status != 0 || d.flushed() != 1 {
		t.Errorf("flush: status %d, %d calls", a.status, d.flushed())
	}
	for _, err := range []error{unix.ENOSPC, errors.New("the network is down"), unix.EAGAIN} {
		d.mu.Lock()
		d.fail = err
		d.mu.Unlock()
		if a := r.request(0, blk.RequestIn, 0, nil, 512); a.status != 1 {
			t.Errorf("%v: status %d", err, a.status)
		}
	}
}

// TestFuncDiskWriteThrough: a driver that cannot flush has each write flushed for it.
func TestFuncDiskWriteThrough(t *testing.T) {
	d := &goDisk{data: make([]byte, mib)}
	r := newRig(t, d, rigOptions{acked: 1 << 32})
	for i := range 3 {
		r.write(0, 0, make([]byte, 4096))
		if d.flushed() != i+1 {
			t.Fatalf("%d flushes after %d writes", d.flushed(), i+1)
		}
	}
}

// TestFuncDiskHangs: what hangs is named, other disks go on, and a closed device ends it.
func TestFuncDiskHangs(t *testing.T) {
	d := &goDisk{data: make([]byte, mib), gate: make(chan struct{})}
	r := newRig(t, d, rigOptions{})
	go func() {
		eventually(t, "the flush is in flight", func() bool {
			p := r.pool.Pending()
			return len(p) == 1 && p[0].Type == blk.RequestFlush
		})
		close(d.gate)
	}()
	if a := r.request(0, blk.RequestFlush, 0, nil, 0); a.status != 0 {
		t.Errorf("flush: status %d", a.status)
	}
}

// coarseDisk claims a unit that no FuncDisk is called by.
type coarseDisk struct{ goDisk }

func (d *coarseDisk) Info() blk.DiskInfo {
	info := d.goDisk.Info()
	info.OffsetAlign, info.MemAlign = 4096, 4096
	return info
}

// TestFuncDiskWithUnits: parts of units are read, written and zeroed as any range is.
func TestFuncDiskWithUnits(t *testing.T) {
	d := &coarseDisk{goDisk{data: make([]byte, mib)}}
	r := newRig(t, d, rigOptions{})
	want := bytes.Repeat([]byte{0xa5}, 3*512)
	r.write(0, 1, want)
	if got := r.read(0, 1, len(want)); !bytes.Equal(got, want) || !bytes.Equal(d.bytes(512, len(want)), want) {
		t.Error("content differs")
	}
	if a := r.request(0, blk.RequestWriteZeroes, 0, segment(2, 1, 0), 0); a.status != 0 {
		t.Errorf("zeroes: status %d", a.status)
	}
	clear(want[512:1024])
	if got := d.bytes(0, 4096); !bytes.Equal(got[512:2048], want) || got[0] != 0 || got[2048] != 0 {
		t.Error("zeroes have changed what they should not, or nothing")
	}
}
