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
