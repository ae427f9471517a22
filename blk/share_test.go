package blk_test

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// pipeRoom is how much newHung's feed can be given before anything is read.
const pipeRoom = mib

// newHung makes a descriptor whose reads hang until they are fed.
func newHung(t *testing.T) (fd int, feed func(n int)) {
	t.Helper()
	in, out := newPipe(t)
	if _, err := unix.FcntlInt(uintptr(out), unix.F_SETPIPE_SZ, pipeRoom); err != nil {
		t.Fatal(err)
	}
	return in, func(n int) {
		if _, err := unix.Write(out, make([]byte, n)); err != nil {
			t.Error(err)
		}
	}
}

// addReads publishes n reads of one sector into memory at data.
func (r *rig) addReads(q, n int, data guestmem.GPA) {
	r.t.Helper()
	r.mem.Write(r.header, header(blk.RequestIn, 0))
	for range n {
		if _, err := r.drivers[q].Add(virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
			Writable: []virtiotest.Area{{GPA: data, Len: 512}, {GPA: r.status, Len: 1}},
			Indirect: true,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.drivers[q].Publish(); err != nil {
		r.t.Fatal(err)
	}
}

// TestHungDiskLeavesSlots: to exports that are there, and to one that comes later.
func TestHungDiskLeavesSlots(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{pool: blk.PoolOptions{Slots: 64}, size: 256})
	defer feed(256 * 512)
	r.addReads(0, 100, r.data)
	eventually(t, "requests hang", func() bool { return len(r.pool.Pending()) > 0 })
	late := newRigOn(t, r.pool, blk.NewNull(mib), rigOptions{})
	late.read(0, 0, 512)
	r.addReads(0, 100, r.data)
	late.read(0, 0, 512)
	newRigOn(t, r.pool, blk.NewNull(mib), rigOptions{}).read(0, 0, 512)
}

// TestHungDiskLeavesBounceBuffers likewise.
func TestHungDiskLeavesBounceBuffers(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, alignedDisk{fdDisk{fd: fd, size: mib}, 512, 512}, rigOptions{pool: blk.PoolOptions{Slots: 256}})
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	other := newRigOn(t, r.pool, unitDisk{file, 512, 512}, rigOptions{})
	defer feed(256 * 512)
	r.addReads(0, blk.BufferCount+8, r.data+16)
	eventually(t, "requests hang", func() bool { return len(r.pool.Pending()) == blk.BufferCount+8 })
	other.addReads(0, 1, other.data+16)
	other.next(0)
	if s := other.mem.Bytes(other.status, 1)[0]; s != 0 || other.dev.Stats().Total.Bounced != 1 {
		t.Errorf("status %d, %d bounced", s, other.dev.Stats().Total.Bounced)
	}
}

// TestFreedSlotsAreShared: a queue that always has more does not take each slot that its neighbour waits for.
func TestFreedSlotsAreShared(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{queues: 2, pool: blk.PoolOptions{Slots: 16}, size: 256})
	defer feed(256 * 512)
	const share = 8 // of a device that is alone
	r.addReads(0, 200, r.data)
	eventually(t, "no slot is free", func() bool { return len(r.pool.Pending()) == share })
	r.addReads(1, 1, r.data)
	reaped := func(q int) bool {
		_, ok, err := r.drivers[q].Reap()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for first := 0; first < 100; first++ {
		// Which of the reads in flight gets the bytes is up to the kernel: what is asked is whether the second's is among them.
		if slices.ContainsFunc(r.pool.Pending(), func(p blk.PendingRequest) bool { return p.Queue == 1 }) {
			return
		}
		feed(512)
		second := false
		eventually(t, "a read ends", func() bool {
			second = reaped(1)
			return second || reaped(0)
		})
		if second {
			return
		}
	}
	t.Error("100 requests of the first queue have passed the second's")
}

// TestWorkerWithoutSlotsRests: what the driver has made available cannot be fetched; to look at it again is no use.
func TestWorkerWithoutSlotsRests(t *testing.T) {
	poll, err := blk.ParsePoll("50us")
	if err != nil {
		t.Fatal(err)
	}
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{pool: blk.PoolOptions{Slots: 16, Poll: poll}})
	defer feed(256 * 512)
	r.addReads(0, 40, r.data)
	eventually(t, "requests hang", func() bool { return len(r.pool.Pending()) > 0 })
	r.expectRest()
}

// expectRest fails when the workers go round far more often than the clock makes them.
func (r *rig) expectRest() {
	r.t.Helper()
	before, begin := r.pool.Turns(), time.Now()
	time.Sleep(100 * time.Millisecond) // what is measured
	turns, bound := r.pool.Turns()-before, 10*int(time.Since(begin)/time.Millisecond)
	if turns > bound {
		r.t.Errorf("%d turns in %v", turns, time.Since(begin))
	}
}
