package virtio_test

import (
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

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
