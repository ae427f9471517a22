package virtio_test

import (
	"os"
	"slices"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// activation is a Config to be spoiled, and the region it lies in.
type activation struct {
	virtio.Config
	start, end guestmem.FrontendVA
}

func TestActivateRefuses(t *testing.T) {
	anySplit, anyPacked := format{features: modern}, format{features: modern | virtio.FeatureRingPacked}
	for _, tc := range []struct {
		name   string
		f      format
		change func(c *activation)
	}{
		{"size 0", anySplit, func(c *activation) { c.Size = 0 }},
		{"size above 32768", anySplit, func(c *activation) { c.Size = 65536 }},
		{"split size no power of two", anySplit, func(c *activation) { c.Size = 12 }},
		{"packed size above 32768", anyPacked, func(c *activation) { c.Size = 32769 }},
		{"no memory", anySplit, func(c *activation) { c.Memory = nil }},
		{"descriptor table misaligned", anySplit, func(c *activation) { c.Desc += 8 }},
		{"available ring misaligned", anySplit, func(c *activation) { c.Driver++ }},
		{"used ring misaligned", anySplit, func(c *activation) { c.Device += 2 }},
		{"descriptor ring misaligned", anyPacked, func(c *activation) { c.Desc += 4 }},
		{"driver event misaligned", anyPacked, func(c *activation) { c.Driver += 2 }},
		{"device event misaligned", anyPacked, func(c *activation) { c.Device += 2 }},
		{"descriptor table ends outside", anySplit, func(c *activation) { c.Desc = c.end - 16*16 + 16 }},
		{"available ring ends outside", anySplit, func(c *activation) { c.Driver = c.end - 6 - 2*16 + 2 }},
		{"used ring ends outside", anySplit, func(c *activation) { c.Device = c.end - 8*16 - 4 }},
		{"descriptor ring ends outside", anyPacked, func(c *activation) { c.Desc = c.end - 16*16 + 16 }},
		{"driver event outside", anyPacked, func(c *activation) { c.Driver = c.end }},
		{"device event below", anyPacked, func(c *activation) { c.Device = c.start - 4 }},
		{"descriptor table nowhere", anySplit, func(c *activation) { c.Desc = 0 }},
		{"extent around the address space", anySplit, func(c *activation) { c.Desc = 1<<64 - 16 }},
		{"split base of 17 bits", anySplit, func(c *activation) { c.Base = 1 << 16 }},
		{"packed base outside of the ring", anyPacked, func(c *activation) { c.Base = 16 | 1<<15 | 1<<31 }},
		{"packed used base outside of the ring", anyPacked, func(c *activation) { c.Base = 1<<15 | 16<<16 | 1<<31 }},
		{"packed base with used ahead", anyPacked, func(c *activation) { c.Base = 1 | 1<<15 | 2<<16 | 1<<31 }},
		{"packed base more than a lap ahead", anyPacked, func(c *activation) { c.Base = 2 | 1<<15 | 1<<16 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 16, Features: tc.f.features})
			c, err := r.driver.Config(r.table)
			mustNot(t, err)
			info := r.memory.Regions()[0]
			a := activation{c, info.UserAddr, info.UserAddr + guestmem.FrontendVA(info.Size)}
			tc.change(&a)
			if q, err := virtio.Activate(a.Config); err == nil {
				_ = q.Close()
				t.Fatal("activated")
			} else {
				t.Log(err)
			}
			// The eventfds are still the caller's.
			for _, fd := range []int{c.Kick, c.Call, c.Err} {
				mustNot(t, unix.Close(fd))
			}
		})
	}
}

// TestActivateAtTheEdge: extents that end with the region are fine, and so are unusual alignments.
func TestActivateAtTheEdge(t *testing.T) {
	for _, edge := range []func(c *activation){
		func(c *activation) { c.Desc = c.end - 16*16 },
		func(c *activation) { c.Driver = c.end - 6 - 2*16 },
		func(c *activation) { c.Driver = c.start + 2 },
		func(c *activation) { c.Device = c.end - 8 - 8*16 },
	} {
		r := newRig(t, virtiotest.Options{Size: 16, Features: modern})
		c, err := r.driver.Config(r.table)
		mustNot(t, err)
		info := r.memory.Regions()[0]
		a := activation{c, info.UserAddr, info.UserAddr + guestmem.FrontendVA(info.Size)}
		edge(&a)
		q, err := virtio.Activate(a.Config)
		mustNot(t, err)
		mustNot(t, q.Close())
	}
}

// TestActivateRefusesRingsOverARegionsEnd: adjacent regions do not make one extent, whichever of the parts it is.
func TestActivateRefusesRingsOverARegionsEnd(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern}, straddling...)
	for i := range 3 {
		c, err := r.driver.Config(r.table)
		mustNot(t, err)
		va := r.memory.VA(border - 16)
		*[]*guestmem.FrontendVA{&c.Desc, &c.Driver, &c.Device}[i] = va
		if q, err := virtio.Activate(c); err == nil {
			_ = q.Close()
			t.Fatal("activated")
		}
		for _, fd := range []int{c.Kick, c.Call, c.Err} {
			mustNot(t, unix.Close(fd))
		}
	}
}

func TestActivateOnTruncatedMemory(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern})
	mustNot(t, r.memory.Truncate(0, 0))
	q, err := r.driver.Activate(r.table)
	var fault *guestmem.FaultError
	if !errors.As(err, &fault) {
		if q != nil {
			_ = q.Close()
		}
		t.Fatalf("err = %v; want a FaultError", err)
	}
}

// TestPackedBaseOfOldFrontEnds: a fresh ring whose base has only a lower half.
func TestPackedBaseOfOldFrontEnds(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 4, Features: modern | virtio.FeatureRingPacked})
	c, err := r.driver.Config(r.table)
	mustNot(t, err)
	c.Base = 1 << 15
	q, err := virtio.Activate(c)
	mustNot(t, err)
	defer func() { mustNot(t, q.Close()) }()
	if base, err := q.Stop(); base != 1<<15|1<<31 || err != nil {
		t.Fatalf("base %#x, %v", base, err)
	}
}

// TestStopAndGoOn hands a ring from one queue to the next through its base, again and again.
func TestStopAndGoOn(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
			at := r.alloc(t, 64)
			req := virtiotest.Request{Readable: []virtiotest.Area{{GPA: at, Len: 16}}, Writable: []virtiotest.Area{{GPA: at, Len: 1}}}
			for range 50 {
				stopAndGoOn(t, r, req)
			}
		})
	}
}

// stopAndGoOn serves two of three chains, and the third one by a successor.
func stopAndGoOn(t *testing.T, r *rig, req virtiotest.Request) {
	t.Helper()
	for range 3 {
		r.add(t, req)
	}
	r.publish(t)
	q := r.queue
	e := newEcho(q)
	if n, err := e.turn(2); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	base, err := q.Stop() // publishes
	mustNot(t, err)
	if again, err := q.Stop(); again != base || err != nil {
		t.Fatalf("stopped twice: %#x, then %#x (%v)", base, again, err)
	}
	if ok, err := q.Next(e.chain); ok || err != nil || q.Pending() {
		t.Fatalf("a stopped queue fetches: %v, %v", ok, err)
	}
	r.succeed(t, base)
	if n, err := newEcho(r.queue).turn(9); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if called, err := r.queue.Publish(); !called || err != nil {
		t.Fatalf("the first batch of a successor calls: %v, %v", called, err)
	}
	for range 3 {
		r.reap(t)
	}
}

func TestStopWithRequestsInFlight(t *testing.T) {
	for _, f := range formats {
		r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
		r.add(t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 1), Len: 1}}})
		r.publish(t)
		token := r.fetch(t)
		if _, err := r.queue.Stop(); err == nil {
			t.Fatal("stopped")
		}
		r.queue.Push(token, 1)
		if _, err := r.queue.Stop(); err != nil {
			t.Fatal(err)
		}
		r.reap(t)
	}
}

func TestDisabledQueueFetchesNothing(t *testing.T) {
	for _, f := range formats {
		r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
		req := virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 1), Len: 1}}}
		r.add(t, req)
		r.publish(t)
		token := r.fetch(t)
		r.add(t, req)
		r.publish(t)
		r.queue.SetEnabled(false)
		if ok, err := r.next(); ok || err != nil || r.queue.Pending() || r.queue.EnableKicks() || r.queue.Enabled() {
			t.Fatalf("a disabled queue has something: %v, %v", ok, err)
		}
		r.queue.Push(token, 1) // but what runs may end
		_, err := r.queue.Publish()
		mustNot(t, err)
		r.reap(t)
		r.queue.SetEnabled(true)
		r.queue.Push(r.fetch(t), 1)
	}
}

func TestSetMemory(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
			req := virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 64), Len: 64}}}
			for range 4 {
				r.add(t, req)
				r.publish(t)
				token := r.fetch(t)
				old := r.chain.Writable[0].Base
				r.queue.Push(token, 1) // kept back by packed rings
				table, err := r.memory.Table()
				mustNot(t, err)
				mustNot(t, r.queue.SetMemory(table))
				if r.queue.Memory() != table {
					t.Fatal("not adopted")
				}
				table.Release()
				_, err = r.queue.Publish()
				mustNot(t, err)
				r.reap(t)
				r.add(t, req)
				r.publish(t)
				r.queue.Push(r.fetch(t), 1)
				if r.chain.Writable[0].Base == old {
					t.Fatal("translated by the old table")
				}
				_, err = r.queue.Publish()
				mustNot(t, err)
				r.reap(t)
			}
			empty, err := guestmem.NewTable()
			mustNot(t, err)
			defer empty.Release()
			before := r.queue.Memory()
			if err := r.queue.SetMemory(empty); err == nil || r.queue.Err() == nil || r.queue.Memory() != before {
				t.Fatalf("a table without the rings: %v", err)
			}
		})
	}
}

func TestSetAddresses(t *testing.T) {
	for _, f := range formats {
		r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
		for range 2 {
			r.add(t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 64), Len: 64}}})
		}
		r.publish(t)
		desc, driver, device := r.driver.Addresses()
		if err := r.queue.SetAddresses(desc+8, driver, device); err == nil || r.queue.Err() != nil {
			t.Fatalf("misaligned: %v, and broken: %v", err, r.queue.Err())
		}
		mustNot(t, r.queue.SetAddresses(desc, driver, device)) // as when logging begins
		r.queue.Push(r.fetch(t), 1)
		_, err := r.queue.Publish()
		mustNot(t, err)
		r.reap(t)
		// Elsewhere the ring is empty.
		where, err := r.memory.Alloc(4096, 4096)
		mustNot(t, err)
		va := r.memory.VA(where)
		mustNot(t, r.queue.SetAddresses(va, va+1024, va+2048))
		if f.packed() {
			continue // zeroes are descriptors of the other lap or none, depending on where we are
		}
		r.memory.Bytes(where+1024, 4)[2] = 1 // where we are: nothing new, whatever the old ring had
		if ok, err := r.next(); ok || err != nil {
			t.Fatalf("the new ring is empty: %v, %v", ok, err)
		}
		r.memory.Bytes(where+1024, 4)[2] = 2
		if ok, err := r.next(); !ok || err != nil {
			t.Fatalf("the new ring has one chain: %v, %v", ok, err)
		}
		r.queue.Push(r.chain.Token, 0)
	}
}

func TestBreak(t *testing.T) {
	for _, f := range formats {
		r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
		req := virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 1), Len: 1}}}
		r.add(t, req)
		r.add(t, req)
		r.publish(t)
		token := r.fetch(t)
		cause := errors.New("why")
		r.queue.Break(nil)
		r.queue.Break(cause)
		r.queue.Break(errors.New("later"))
		for range 2 {
			if ok, err := r.next(); ok || !errors.Is(err, cause) || !errors.Is(r.queue.Err(), cause) {
				t.Fatalf("Next = %v, %v", ok, err)
			}
		}
		if n, err := sys.Drain(r.driver.ErrFD()); n != 1 || err != nil {
			t.Fatalf("err eventfd signalled %d times (%v)", n, err)
		}
		r.queue.Push(token, 1)
		if called, err := r.queue.Publish(); called || err != nil || r.queue.InFlight() != 0 {
			t.Fatalf("published by a broken queue: %v, %v", called, err)
		}
		r.queue.DisableKicks()
		if r.queue.Pending() || r.queue.EnableKicks() {
			t.Fatal("a broken queue has something")
		}
		if _, ok, _ := r.driver.Reap(); ok {
			t.Fatal("a broken queue completed something")
		}
		if _, err := r.queue.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseAndEventfds(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 8, Features: modern, Index: 3})
	q := r.queue
	if q.Index() != 3 || q.Size() != 8 || q.Features() != modern || q.KickFD() < 0 {
		t.Fatal("accessors")
	}
	a, b := mustEventFD(t), mustEventFD(t)
	q.SetCall(mustDup(t, a))
	q.SetErr(mustDup(t, b))
	mustNot(t, q.Notify())
	q.Break(os.ErrInvalid)
	for _, fd := range []*sys.FD{a, b} {
		if n, err := sys.Drain(fd.Int()); n != 1 || err != nil {
			t.Fatalf("signalled %d times (%v)", n, err)
		}
	}
	q.SetCall(-1)
	q.SetErr(-1)
	mustNot(t, q.Notify())
	kick := q.KickFD()
	mustNot(t, q.Close())
	mustNot(t, q.Close())
	if err := unix.Close(kick); err == nil || q.KickFD() != -1 {
		t.Fatal("kick eventfd was not closed")
	}
	q.SetCall(mustDup(t, a)) // closed right away, or leaktest tells
	if err := q.Notify(); err != nil {
		t.Fatal(err)
	}
	if err := q.SetMemory(r.table); err == nil {
		t.Fatal("a closed queue took a memory table")
	}
	if err := q.SetAddresses(0, 0, 0); err == nil {
		t.Fatal("a closed queue moved")
	}
	if ok, err := q.Next(r.chain); ok || !errors.Is(err, os.ErrInvalid) {
		t.Fatal(ok, err)
	}
}

func TestClosedQueue(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 8, Features: modern})
	mustNot(t, r.queue.Close())
	if ok, err := r.next(); ok || !errors.Is(err, virtio.ErrClosed) || !errors.Is(r.queue.Err(), virtio.ErrClosed) {
		t.Fatal(ok, err)
	}
	r.queue.DisableKicks()
	if called, err := r.queue.Publish(); called || err != nil || r.queue.Pending() || r.queue.EnableKicks() {
		t.Fatal("a closed queue does something")
	}
}

// TestQueuesShareMemory runs several queues in one guest.
func TestQueuesShareMemory(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 4, Features: modern}, straddling...)
	at := r.alloc(t, 64)
	req := virtiotest.Request{Writable: []virtiotest.Area{{GPA: at, Len: 1}}}
	queues := []*virtio.Queue{r.queue}
	drivers := []*virtiotest.Driver{r.driver}
	for i, f := range formats {
		d, q := r.addQueue(t, virtiotest.Options{Index: i + 1, Size: 4, Features: f.features, Region: i % 2})
		queues, drivers = append(queues, q), append(drivers, d)
	}
	for range 20 {
		for _, d := range drivers {
			_, err := d.Add(req)
			mustNot(t, err)
			_, err = d.Publish()
			mustNot(t, err)
		}
		for _, q := range slices.Backward(queues) {
			if n, err := newEcho(q).turn(9); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			_, err := q.Publish()
			mustNot(t, err)
		}
		for _, d := range drivers {
			if _, ok, err := d.Reap(); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
}

func mustEventFD(t *testing.T) *sys.FD {
	t.Helper()
	fd, err := sys.EventFD()
	mustNot(t, err)
	t.Cleanup(func() { mustNot(t, fd.Close()) })
	return fd
}

func mustDup(t *testing.T, fd *sys.FD) int {
	t.Helper()
	dup, err := fd.Dup()
	mustNot(t, err)
	return dup.Disown()
}

func TestFeaturesString(t *testing.T) {
	for f, want := range map[virtio.Features]string{
		0:                      "0x0",
		virtio.FeatureVersion1: "VERSION_1",
		virtio.FeatureRingPacked | virtio.FeatureEventIdx | 1<<9: "EVENT_IDX|RING_PACKED|0x200",
		1 << 63: "0x8000000000000000",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x is %q; want %q", uint64(f), got, want)
		}
	}
	if modern.Has(modern|virtio.FeatureInOrder) || !modern.Has(0) || !modern.Has(virtio.FeatureVersion1) {
		t.Error("Has")
	}
}
