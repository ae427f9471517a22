package durability

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// TestUnmappedZeroesReadAsZeros: a Disk may choose what discarded sectors read as; zeroes that may be deallocated are
// zeroes all the same (virtio-v1.3 5.2.6).
func TestUnmappedZeroesReadAsZeros(t *testing.T) {
	c := corners(writeBack)[0]
	c.unmaps, c.seed = true, seeds(1)[0]
	prove(t, newTable(t), c.String()+", unmap", []config{c})
}

// TestToggleBesideFailingFlush is I3 and I4 together: while a FLUSH is under way the driver changes to write-through. The
// FLUSH fails and takes a completed write with it; a flush of the change that runs beside it has nothing left to do and
// succeeds, as fdatasync does, which reports an error once. The change must not be answered OK.
func TestToggleBesideFailingFlush(t *testing.T) {
	c := config{queues: 1, workers: 1, mode: configWCE, requests: 2}
	r := &run{config: c}
	r.disk = newDisk(&r.clock, diskSectors)
	r.disk.fault = fault{err: unix.EIO, call: 1}
	g, err := newGuest(r.disk, c)
	if err != nil {
		t.Fatal(err)
	}
	r.guest = g
	defer func() {
		r.disk.releaseAll()
		if err := g.close(); err != nil {
			t.Error(err)
		}
	}()
	r.offer(t, &op{kind: blk.RequestOut, sectors: 1, segments: 1, content: 1})
	r.releaseFirst(t, 1)
	r.await(t, statusOK)
	r.offer(t, &op{kind: blk.RequestFlush})
	eventually(t, "the FLUSH has begun", func() bool { return r.disk.waits() == 1 })
	told := make(chan error, 1)
	go func() { told <- g.dev.WriteConfig([]byte{0}, configWriteback) }()
	time.Sleep(100 * time.Millisecond) // it may flush beside the FLUSH, or wait for its turn: either is right
	r.releaseFirst(t, 1)
	r.await(t, statusIOErr)
	r.disk.releaseAll()
	if err := <-told; err == nil {
		t.Error("the change to write-through was answered OK, and the write that completed before it is lost")
	}
}

func (r *run) offer(t *testing.T, o *op) {
	t.Helper()
	chain, err := r.guest.chain(o, 0, false)
	if err == nil {
		_, err = r.guest.drivers[0].Add(chain)
	}
	if err == nil {
		_, err = r.guest.drivers[0].Publish()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *run) await(t *testing.T, status byte) {
	t.Helper()
	eventually(t, "a request has ended", func() bool {
		_, ok, err := r.guest.drivers[0].Reap()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	})
	if got := r.guest.status(0); got != status {
		t.Fatalf("status %d, want %d", got, status)
	}
}

// releaseFirst lets the call go that waits longest, as soon as n do.
func (r *run) releaseFirst(t *testing.T, n int) {
	t.Helper()
	eventually(t, "calls wait", func() bool { return r.disk.waits() >= n })
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	first := r.disk.held[0]
	r.disk.held = r.disk.held[1:]
	r.disk.finish(first)
}

func (d *disk) waits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.held)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
