package virtio_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// logRig is a queue whose rings span several pages, with its log. What chains ask for is not written: what changes in
// guest memory are the rings.
type logRig struct {
	*rig
	t      *testing.T
	log    *virtiotest.Log
	dirty  *guestmem.DirtyLog
	begin  guestmem.GPA
	size   int
	buffer guestmem.GPA
}

func newLogRig(t *testing.T, f format, size uint32, base virtio.Base) *logRig {
	ram := virtiotest.RAM(1 << 20)
	r := &logRig{
		rig: newRig(t, virtiotest.Options{Size: size, Features: f.features, Base: base, TableLen: 1}, ram),
		t:   t, begin: ram.GPA, size: int(ram.Size),
	}
	r.buffer = r.alloc(t, 16)
	r.log, r.dirty = r.newLog()
	return r
}

func (r *logRig) newLog() (*virtiotest.Log, *guestmem.DirtyLog) {
	r.t.Helper()
	log, err := virtiotest.NewLog(r.memory)
	mustNot(r.t, err)
	r.t.Cleanup(func() { mustNot(r.t, log.Close()) })
	dirty, err := log.Map()
	mustNot(r.t, err)
	r.t.Cleanup(dirty.Close)
	return log, dirty
}

// send makes n chains available.
func (r *logRig) send(n int) {
	for range n {
		r.add(r.t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.buffer, Len: 16}}})
	}
	r.publish(r.t)
}

// device lets the device act, and nobody else: what has changed afterwards is the device's doing.
func (r *logRig) device(act func()) (marked virtiotest.Pages) {
	r.t.Helper()
	before := r.memory.Snapshot(r.begin, r.size)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	act()
	after := r.memory.Snapshot(r.begin, r.size)
	marked = r.log.Take()
	if at, found := marked.Unmarked(r.begin, before, after); found {
		r.t.Fatalf("the byte at %#x has changed, its page is not marked", uint64(at))
	}
	return marked
}

// serve fetches all there is and pushes it.
func (r *logRig) serve() {
	for {
		if ok, err := r.next(); err != nil || !ok {
			mustNot(r.t, err)
			return
		}
		r.queue.Push(r.chain.Token, 16)
	}
}

// TestLogHasWhatTheQueueWrites compares guest memory before and after everything that a queue does: each byte that has
// changed is on a marked page. Batches of all sizes go round rings of several pages.
func TestLogHasWhatTheQueueWrites(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/seed=%d", f.name, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 3))
				r := newLogRig(t, f, 2048, virtio.Base(0))
				r.queue.SetLog(r.dirty, r.driver.LogAddress())
				pages := virtiotest.Pages{}
				for range 60 {
					n := 1 + rnd.IntN(1<<rnd.IntN(12))
					r.send(min(n, r.driver.Free()))
					marked := r.device(func() {
						r.queue.DisableKicks()
						r.serve()
						_, err := r.queue.Publish()
						mustNot(t, err)
						r.queue.EnableKicks()
					})
					for p := range marked {
						pages[p] = true
					}
					for r.driver.Outstanding() > 0 {
						r.reap(t)
					}
				}
				// Not everything: descriptor tables and available rings of split queues are none of ours.
				if len(pages) < 4 || len(pages) > 10 {
					t.Fatalf("%d pages were marked", len(pages))
				}
			})
		}
	}
}

// TestLogFromTheStart: a ring that starts while the guest migrates logs from its first store on, one that moves marks
// where it is now, and one that stops marks what it still publishes.
func TestLogFromTheStart(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newLogRig(t, f, 256, 0)
			mustNot(t, r.queue.Close())
			c, err := r.driver.Config(r.table)
			mustNot(t, err)
			c.Log, c.LogAt = r.dirty, r.driver.LogAddress()
			r.queue, err = virtio.Activate(c)
			mustNot(t, err)
			t.Cleanup(func() { mustNot(t, r.queue.Close()) })
			r.queue.SetEnabled(true)
			r.send(3)
			r.device(func() { r.queue.DisableKicks() })
			r.device(func() { r.queue.EnableKicks() })
			r.device(func() {
				r.serve()
				_, err := r.queue.Publish()
				mustNot(t, err)
			})
			r.send(3)
			table, err := r.memory.Table()
			mustNot(t, err)
			t.Cleanup(table.Release)
			r.device(func() {
				mustNot(t, r.queue.SetMemory(table))
				r.serve()
				_, err := r.queue.Stop()
				mustNot(t, err)
			})
		})
	}
}

// TestPackedLogFollowsTheRing: no message tells a packed descriptor ring's guest-physical address, so it is looked up
// again whenever the ring moves.
func TestPackedLogFollowsTheRing(t *testing.T) {
	r := newLogRig(t, formats[1], 8, 0)
	r.queue.SetLog(r.dirty, r.driver.LogAddress())
	info := r.memory.Regions()[0]
	elsewhere := r.alloc(t, 8*page) &^ (page - 1)
	_, driver, device := r.driver.Addresses()
	move := func(to guestmem.GPA, m *guestmem.Table) {
		t.Helper()
		mustNot(t, r.queue.SetMemory(m))
		mustNot(t, r.queue.SetAddresses(info.UserAddr+guestmem.FrontendVA(to-info.GPA), driver, device))
	}
	at := elsewhere + 4*page
	copy(r.memory.Bytes(at, 8*16), r.memory.Bytes(elsewhere, 8*16))
	move(at, r.table)
	// One descriptor, available, as the driver would have made it.
	d := r.memory.Bytes(at, 16)
	d[14] = 1 << 7
	marked := r.device(func() {
		r.serve()
		_, err := r.queue.Publish()
		mustNot(t, err)
	})
	if len(marked) != 1 || !marked.Has(at) {
		t.Fatalf("marked %v; want %#x", marked, uint64(at))
	}
}

const page = 4096

// TestLogIsSwapped: what was given first is not written any more, off is off.
func TestLogIsSwapped(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newLogRig(t, f, 64, 0)
			other, dirty := r.newLog()
			work := func() {
				r.send(8)
				r.queue.DisableKicks()
				r.serve()
				_, err := r.queue.Publish()
				mustNot(t, err)
				r.queue.EnableKicks()
				for r.driver.Outstanding() > 0 {
					r.reap(t)
				}
			}
			for i, c := range []struct {
				to            *guestmem.DirtyLog
				first, second bool
			}{{nil, false, false}, {r.dirty, true, false}, {dirty, false, true}, {nil, false, false}, {r.dirty, true, false}} {
				r.queue.SetLog(c.to, r.driver.LogAddress())
				work()
				if a, b := len(r.log.Take()) > 0, len(other.Take()) > 0; a != c.first || b != c.second {
					t.Fatalf("step %d: marked %v %v; want %v %v", i, a, b, c.first, c.second)
				}
			}
		})
	}
}

// TestHostileLogAddress: the address is whatever somebody sent. It marks the wrong pages at worst.
func TestHostileLogAddress(t *testing.T) {
	for _, f := range formats {
		for _, at := range []guestmem.GPA{1<<64 - 1, 1<<64 - 4096, 1 << 63, 1 << 52, 0x20_0000 - 1, 3} {
			t.Run(fmt.Sprintf("%s/%#x", f.name, uint64(at)), func(t *testing.T) {
				r := newLogRig(t, f, 64, 0)
				r.queue.SetLog(r.dirty, at)
				r.send(64)
				r.queue.DisableKicks()
				r.serve()
				_, err := r.queue.Publish()
				mustNot(t, err)
				r.queue.EnableKicks()
				for range 64 {
					r.reap(t)
				}
			})
		}
	}
}

func TestLoggingDoesNotAllocate(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newLogRig(t, f, 64, 0)
			r.queue.SetLog(r.dirty, r.driver.LogAddress())
			n := testing.AllocsPerRun(100, func() {
				r.send(5)
				r.queue.DisableKicks()
				r.serve()
				if _, err := r.queue.Publish(); err != nil {
					t.Error(err)
				}
				r.queue.EnableKicks()
				for range 5 {
					if _, _, err := r.driver.Reap(); err != nil {
						t.Error(err)
					}
				}
			})
			if n > 0 {
				t.Fatalf("%v allocations", n)
			}
		})
	}
}
