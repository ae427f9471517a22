package blk_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// TestDurabilityFollowsNegotiation is the table of when a completed write must be stable.
func TestDurabilityFollowsNegotiation(t *testing.T) {
	const flush, wce, none = blk.FeatureFlush, blk.FeatureConfigWCE, virtio.FeatureVersion1
	for _, c := range []struct {
		name         string
		cache        blk.CacheMode
		wce          bool
		acked        virtio.Features
		offersFlush  bool
		writeThrough bool
	}{
		{"FLUSH", blk.CacheAuto, false, none | flush, true, false},
		{"neither", blk.CacheAuto, false, none, true, true},
		{"WCE without FLUSH", blk.CacheAuto, true, none | wce, true, true},
		{"WCE and FLUSH", blk.CacheAuto, true, none | wce | flush, true, false},
		{"writeback", blk.CacheWriteback, false, none | flush, true, false},
		{"writethrough", blk.CacheWritethrough, false, none, false, true},
		{"writethrough, FLUSH acked from an earlier life", blk.CacheWritethrough, false, none | flush, false, true},
		{"unsafe", blk.CacheUnsafe, false, none | flush, true, false},
		{"unsafe, neither", blk.CacheUnsafe, false, none, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := openFile(t, newFile(t, mib), blk.FileOptions{})
			r := newRig(t, file, rigOptions{acked: c.acked, device: blk.DeviceOptions{Cache: c.cache, ConfigWCE: c.wce}})
			if got := virtio.Features(r.dev.Features()).Has(flush); got != c.offersFlush {
				t.Errorf("offers FLUSH: %v, want %v", got, c.offersFlush)
			}
			if got := r.dev.WriteThrough(); got != c.writeThrough {
				t.Errorf("write-through: %v, want %v", got, c.writeThrough)
			}
		})
	}
}

// TestWritebackNeedsFlush: without FLUSH a driver reads that its writes are stable (virtio-v1.3 5.2.5.2).
func TestWritebackNeedsFlush(t *testing.T) {
	for _, c := range []struct {
		name  string
		acked virtio.Features
		want  byte
	}{{"CONFIG_WCE and FLUSH", allFeatures, 1}, {"CONFIG_WCE alone", allFeatures &^ blk.FeatureFlush, 0}} {
		t.Run(c.name, func(t *testing.T) {
			file := openFile(t, newFile(t, mib), blk.FileOptions{})
			r := newRig(t, file, rigOptions{acked: c.acked, device: blk.DeviceOptions{ConfigWCE: true}})
			var b [1]byte
			if r.dev.ReadConfig(b[:], 32); b[0] != c.want {
				t.Errorf("writeback reads %d, want %d", b[0], c.want)
			}
		})
	}
}

func TestDriverSwitchesTheCache(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	r := newRig(t, file, rigOptions{acked: allFeatures, device: blk.DeviceOptions{ConfigWCE: true}})
	writeback := func() byte {
		var b [1]byte
		r.dev.ReadConfig(b[:], 32)
		return b[0]
	}
	if writeback() != 1 || r.dev.WriteThrough() {
		t.Fatal("a device does not start in write-back mode")
	}
	r.must(func() error { return r.dev.WriteConfig([]byte{0}, 32) })
	if writeback() != 0 || !r.dev.WriteThrough() {
		t.Fatal("writeback=0 did not take effect")
	}
	r.write(0, 0, make([]byte, 512))
	r.must(func() error { return r.dev.Reset() })
	r.must(func() error { return r.dev.SetFeatures(uint64(allFeatures)) })
	if writeback() != 1 || r.dev.WriteThrough() {
		t.Fatal("a reset does not restore the power-on value")
	}
	for _, c := range []struct {
		b   []byte
		off uint32
	}{{[]byte{0}, 33}, {[]byte{0, 0}, 32}, {make([]byte, 8), 0}, {nil, 32}} {
		if err := r.dev.WriteConfig(c.b, c.off); err == nil {
			t.Errorf("%d bytes at offset %d were accepted", len(c.b), c.off)
		}
	}
	r.must(func() error { return r.dev.SetFeatures(uint64(virtio.FeatureVersion1)) })
	if err := r.dev.WriteConfig([]byte{0}, 32); err == nil {
		t.Error("writeback was written without CONFIG_WCE")
	}
}

// TestFailedFlushSticks: what a failed fdatasync dropped cannot be made durable by the next one.
func TestFailedFlushSticks(t *testing.T) {
	// A pipe has no fdatasync: EINVAL, like any other error.
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) }()
	r := newRig(t, fdDisk{fd: p[1], size: mib}, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
	for i := range 3 {
		if a := r.request(i%2, blk.RequestFlush, 0, nil, 0); a.status != 1 {
			t.Fatalf("flush %d: status %d, want IOERR", i, a.status)
		}
	}
	if err := r.dev.Flush(); err == nil {
		t.Error("Flush succeeded on what cannot be flushed")
	}
}

// TestFlushErrorModes: retry tries the next, and an operator can clear what sticks.
func TestFlushErrorModes(t *testing.T) {
	for _, mode := range []blk.FlushErrorMode{blk.FlushErrorSticky, blk.FlushErrorRetry} {
		t.Run(string(mode), func(t *testing.T) {
			d := &goDisk{data: make([]byte, mib), fail: unix.EIO}
			r := newRig(t, d, rigOptions{device: blk.DeviceOptions{FlushError: mode}})
			flush := func(want byte) {
				t.Helper()
				if a := r.request(0, blk.RequestFlush, 0, nil, 0); a.status != want {
					t.Fatalf("flush: status %d, want %d", a.status, want)
				}
			}
			flush(1)
			d.mu.Lock()
			d.fail = nil
			d.mu.Unlock()
			if mode == blk.FlushErrorRetry {
				flush(0)
				return
			}
			flush(1)
			base, err := r.dev.StopQueue(0)
			if err != nil {
				t.Fatal(err)
			}
			r.must(r.dev.Reset)
			r.startAt(0, base)
			flush(1) // a reset of the driver, or another front-end, changes nothing
			if !r.dev.FlushFailed() || !r.dev.ClearFlushError() || r.dev.ClearFlushError() {
				t.Fatal("the error was not there to be cleared, or not cleared")
			}
			flush(0)
		})
	}
}

// TestUnknownCacheChoiceIsWriteThrough: neither a reconnecting front-end nor a migration's destination repeats it.
func TestUnknownCacheChoiceIsWriteThrough(t *testing.T) {
	for name, ring := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
		t.Run(name, func(t *testing.T) {
			file := openFile(t, newFile(t, mib), blk.FileOptions{})
			r := newRig(t, file, rigOptions{ring: ring, acked: allFeatures, device: blk.DeviceOptions{ConfigWCE: true}})
			r.read(0, 0, 512)
			restart := func(newSession bool) {
				t.Helper()
				base, err := r.dev.StopQueue(0)
				if err != nil {
					t.Fatal(err)
				}
				if newSession {
					r.must(r.dev.Reset)
					r.must(func() error { return r.dev.SetFeatures(uint64(allFeatures)) })
				}
				r.startAt(0, base)
			}
			if restart(false); r.dev.WriteThrough() {
				t.Error("a pause made the guest's choice unknown")
			}
			if restart(true); !r.dev.WriteThrough() {
				t.Error("write-back, though the guest may have chosen write-through")
			}
			r.must(func() error { return r.dev.WriteConfig([]byte{1}, 32) })
			if r.dev.WriteThrough() {
				t.Error("the guest's new choice was not taken")
			}
		})
	}
}

// TestFlushWithNothingToFlush completes without an fdatasync, but the first one of a device never does: a predecessor
// may have left something.
func TestFlushWithNothingToFlush(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	r := newRig(t, file, rigOptions{queues: 4, pool: blk.PoolOptions{Workers: 2}})
	flush := func(q int) {
		t.Helper()
		if a := r.request(q, blk.RequestFlush, 0, nil, 0); a.status != 0 {
			t.Fatalf("flush: status %d", a.status)
		}
	}
	flush(0)
	if got := r.dev.Stats(); got.Total.FlushesMerged != 0 || got.Fdatasyncs != 1 {
		t.Fatalf("the first flush was not done: %+v", got)
	}
	for q := range 4 {
		flush(q)
	}
	if got := r.dev.Stats(); got.Total.FlushesMerged != 4 || got.Fdatasyncs != 1 {
		t.Fatalf("flushes of nothing were done: %+v", got)
	}
	r.write(3, 0, make([]byte, 4096))
	flush(2)
	if got := r.dev.Stats(); got.Fdatasyncs != 2 {
		t.Fatalf("a write on another queue was not flushed: %+v", got)
	}
}
