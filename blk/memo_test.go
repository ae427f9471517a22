package blk_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const memoBytes = 64

// memo is the memory that outlives devices.
func memo(t *testing.T) *sys.FD {
	t.Helper()
	fd, err := sys.Memfd("memo", memoBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	return fd
}

// remind gives a device that memory, as a transport does.
func (r *rig) remind(fd *sys.FD) {
	r.t.Helper()
	m, err := guestmem.Map(fd.Int(), guestmem.RegionInfo{Size: memoBytes})
	if err != nil {
		r.t.Fatal(err)
	}
	r.must(func() error { return r.dev.SetMemo(m) })
	r.t.Cleanup(func() { r.must(func() error { return r.dev.SetMemo(nil) }) })
}

// TestCacheChoiceOutlivesUs: the driver does not repeat it to the next process.
func TestCacheChoiceOutlivesUs(t *testing.T) {
	for _, writeback := range []byte{0, 1, 0} {
		fd := memo(t)
		o := rigOptions{acked: allFeatures, device: blk.DeviceOptions{ConfigWCE: true}}
		newOne := func() *rig {
			r := newRig(t, &goDisk{data: make([]byte, mib)}, o)
			r.read(0, 0, 512) // a ring that was used before: the guest has not booted since
			base, err := r.dev.StopQueue(0)
			if err != nil {
				t.Fatal(err)
			}
			r.must(r.dev.Reset)
			r.must(func() error { return r.dev.SetFeatures(uint64(allFeatures)) })
			r.remind(fd)
			r.startAt(0, base)
			return r
		}
		first := newOne()
		first.must(func() error { return first.dev.WriteConfig([]byte{1 - writeback}, 32) })
		first.must(func() error { return first.dev.WriteConfig([]byte{writeback}, 32) })
		second := newOne()
		var b [1]byte
		if second.dev.ReadConfig(b[:], 32); b[0] != writeback || second.dev.WriteThrough() != (writeback == 0) {
			t.Errorf("writeback=%d was chosen, the next process has %d, write-through %v", writeback, b[0], second.dev.WriteThrough())
		}
	}
}

// TestFlushErrorOutlivesUs: what a failed flush has lost no restart brings back; what the operator has cleared stays so.
func TestFlushErrorOutlivesUs(t *testing.T) {
	fd := memo(t)
	d := &goDisk{data: make([]byte, mib), fail: unix.EIO}
	flush := func(r *rig, want byte) {
		t.Helper()
		if a := r.request(0, blk.RequestFlush, 0, nil, 0); a.status != want {
			t.Fatalf("flush: status %d, want %d", a.status, want)
		}
	}
	newOne := func(mode blk.FlushErrorMode) *rig {
		r := newRig(t, d, rigOptions{device: blk.DeviceOptions{FlushError: mode}})
		r.remind(fd)
		return r
	}
	flush(newOne(blk.FlushErrorSticky), 1)
	d.mu.Lock()
	d.fail = nil
	d.mu.Unlock()
	second := newOne(blk.FlushErrorSticky)
	flush(second, 1)
	if !second.dev.ClearFlushError() {
		t.Fatal("the error was not there to be cleared")
	}
	flush(second, 0)
	flush(newOne(blk.FlushErrorSticky), 0)
}

// TestForgedMemo: a front-end that writes there harms nobody, and what is not ours is not believed.
func TestForgedMemo(t *testing.T) {
	for name, b := range map[string]string{
		"noise":           "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"another version": "vublkmem\x02\x00\x00\x00\xff\x00\x00\x00",
		"all flags":       "vublkmem\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			fd := memo(t)
			if _, err := unix.Pwrite(fd.Int(), []byte(b), 0); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, &goDisk{data: make([]byte, mib)}, rigOptions{acked: allFeatures, device: blk.DeviceOptions{ConfigWCE: true}})
			r.remind(fd)
			if got, want := r.dev.FlushFailed(), name == "all flags"; got != want {
				t.Errorf("a flush has failed: %v, want %v", got, want)
			}
			r.write(0, 0, make([]byte, 512))
			var capacity [8]byte
			if r.dev.ReadConfig(capacity[:], 0); binary.LittleEndian.Uint64(capacity[:]) != mib/512 {
				t.Errorf("capacity %x", capacity)
			}
		})
	}
	// One that vanishes is no one's memory any more.
	fd := memo(t)
	r := newRig(t, &goDisk{data: make([]byte, mib)}, rigOptions{acked: allFeatures, device: blk.DeviceOptions{ConfigWCE: true}})
	r.remind(fd)
	if err := unix.Ftruncate(fd.Int(), 0); err != nil {
		t.Fatal(err)
	}
	r.must(func() error { return r.dev.WriteConfig([]byte{0}, 32) })
	r.write(0, 0, make([]byte, 512))
}

// recovering hands the device a queue of which a predecessor had fetched n writes when it died.
func (r *rig) recovering(n int, record *sys.FD) *virtio.Queue {
	r.t.Helper()
	r.mem.Write(r.header, header(blk.RequestOut, 8))
	for range n {
		_, err := r.drivers[0].Add(virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: r.header, Len: 16}, {GPA: r.data, Len: 512}},
			Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.must(func() error { _, err := r.drivers[0].Publish(); return err })
	dead := r.recorded(record)
	chain := virtio.NewChain()
	for range n {
		if ok, err := dead.Next(chain); !ok || err != nil {
			r.t.Fatal(ok, err)
		}
	}
	r.must(dead.Close)
	return r.recorded(record)
}

func (r *rig) recorded(record *sys.FD) *virtio.Queue {
	r.t.Helper()
	c, err := r.drivers[0].Config(r.table)
	if err != nil {
		r.t.Fatal(err)
	}
	c.Inflight = &virtio.InflightConfig{FD: record.Int(), Entries: c.Size}
	q, err := virtio.Activate(c)
	if err != nil {
		r.t.Fatal(err)
	}
	q.SetEnabled(true)
	return q
}

// TestStopWhileRecovering: a queue with requests of a predecessor ends them before it stops; where it must not, they stay in
// the record.
func TestStopWhileRecovering(t *testing.T) {
	const n = 3
	for _, ring := range []virtio.Features{splitRing, packedRing} {
		for name, c := range map[string]struct {
			spoil func(*rig, *virtio.Queue)
			left  int
		}{
			"free":     {func(*rig, *virtio.Queue) {}, 0},
			"disabled": {func(_ *rig, q *virtio.Queue) { q.SetEnabled(false) }, 0},
			"held":     {func(r *rig, _ *virtio.Queue) { r.dev.SetHeld(true) }, n},
			"broken":   {func(_ *rig, q *virtio.Queue) { q.Break(virtio.ErrClosed) }, n},
		} {
			t.Run(name, func(t *testing.T) {
				record, err := sys.Memfd("record", int64(virtio.InflightStride(ring, 128)))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = record.Close() }()
				r := newRig(t, &goDisk{data: make([]byte, mib)}, rigOptions{ring: ring})
				r.must(func() error { _, err := r.dev.StopQueue(0); return err })
				q := r.recovering(n, record)
				c.spoil(r, q)
				r.must(func() error { return r.dev.StartQueue(0, q) })
				r.must(func() error { _, err := r.dev.StopQueue(0); return err })
				if got := r.drivers[0].Outstanding(); got != n { // nothing is reaped yet
					t.Fatalf("%d requests are outstanding", got)
				}
				reaped := 0
				for {
					_, ok, err := r.drivers[0].Reap()
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					reaped++
				}
				again := r.recorded(record)
				if reaped != n-c.left || again.Recovering() != (c.left > 0) {
					t.Errorf("%d of %d requests have ended; the record has some: %v", reaped, n, again.Recovering())
				}
				r.must(again.Close)
			})
		}
	}
}
