package virtio_test

import (
	"testing"
	"time"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// notifyRig is a rig whose buffers do not matter.
type notifyRig struct {
	*rig
	req virtiotest.Request
}

func newNotifyRig(t *testing.T, f virtio.Features, size uint32, base virtio.Base) *notifyRig {
	r := &notifyRig{rig: newRig(t, virtiotest.Options{Size: size, Features: f, Base: base})}
	r.req = virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 1), Len: 1}}}
	return r
}

// serve makes n chains go through the device and tells whether publishing them called the driver.
func (r *notifyRig) serve(t *testing.T, n int) bool {
	t.Helper()
	for range n {
		r.add(t, r.req)
	}
	r.publish(t)
	for range n {
		r.queue.Push(r.fetch(t), 1)
	}
	called, err := r.queue.Publish()
	mustNot(t, err)
	if count, err := sys.Drain(r.driver.CallFD()); err != nil || (count > 0) != called || count > 1 {
		t.Fatalf("called = %v, but the eventfd was signalled %d times (%v)", called, count, err)
	}
	for range n {
		r.reap(t)
	}
	return called
}

func TestPlainCalls(t *testing.T) {
	for _, f := range []virtio.Features{virtio.FeatureVersion1, virtio.FeatureVersion1 | virtio.FeatureRingPacked} {
		r := newNotifyRig(t, f, 8, 0)
		for i := range 20 {
			if !r.serve(t, 1+i%3) {
				t.Fatal("no call although calls are on")
			}
			r.driver.DisableCalls()
			if r.serve(t, 1+i%4) {
				t.Fatal("a call although calls are off")
			}
			if r.driver.EnableCalls() {
				t.Fatal("something is pending")
			}
		}
	}
}

func TestNotifyOnEmpty(t *testing.T) {
	const f = virtio.FeatureNotifyOnEmpty
	for _, features := range []virtio.Features{f, f | virtio.FeatureEventIdx} {
		r := newNotifyRig(t, features, 8, 0)
		r.serve(t, 1)
		r.driver.DisableCalls()
		if !r.serve(t, 2) {
			t.Fatal("no call although the ring is empty")
		}
		r.add(t, r.req)
		r.add(t, r.req)
		r.publish(t)
		a, b := r.fetch(t), r.fetch(t)
		r.queue.Push(a, 1)
		if called, _ := r.queue.Publish(); called {
			t.Fatal("a call although a chain is in flight")
		}
		r.add(t, r.req)
		r.publish(t)
		r.queue.Push(b, 1)
		if called, _ := r.queue.Publish(); called {
			t.Fatal("a call although a chain is available")
		}
		r.queue.Push(r.fetch(t), 1)
		if called, _ := r.queue.Publish(); !called {
			t.Fatal("no call although everything is done")
		}
	}
}

// TestEventIndexCalls: one call for each batch that passes the driver's event index, around the index's end.
func TestEventIndexCalls(t *testing.T) {
	const f = virtio.FeatureVersion1 | virtio.FeatureEventIdx
	for _, tc := range []struct {
		name     string
		features virtio.Features
		base     virtio.Base
	}{
		{"split", f, 65530},
		{"packed", f | virtio.FeatureRingPacked, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newNotifyRig(t, tc.features, 8, tc.base)
			if !r.serve(t, 1) {
				t.Fatal("the first batch calls in any case")
			}
			for i := range 40 {
				if r.driver.EnableCalls() {
					t.Fatal("something is pending")
				}
				if !r.serve(t, 1+i%8) {
					t.Fatalf("round %d: no call although the event index was passed", i)
				}
				if r.serve(t, 1+i%3) {
					t.Fatalf("round %d: a call for an event index that is behind", i)
				}
			}
		})
	}
}

// TestEventIndexAhead: a driver that waits for a later completion is called with that one.
func TestEventIndexAhead(t *testing.T) {
	r := newNotifyRig(t, modern, 8, 0)
	r.serve(t, 1)
	for ahead := range uint16(5) {
		r.driver.Split().SetUsedEvent(r.driver.Split().UsedIdx() + ahead)
		for i := range ahead {
			if r.serve(t, 1) {
				t.Fatalf("called at %d of %d", i, ahead)
			}
		}
		if !r.serve(t, 1) {
			t.Fatalf("not called after %d", ahead)
		}
	}
	p := newNotifyRig(t, modern|virtio.FeatureRingPacked, 5, 0)
	p.serve(t, 1)
	for round := range 20 {
		at, ahead := uint16(1+round*4), uint16(3)
		place := (at + ahead) % 5
		if (at+ahead)/5%2 == 0 {
			place |= 1 << 15 // the first lap's wrap counter is 1
		}
		p.driver.Packed().SetDriverEvent(place, 2)
		if p.serve(t, 3) || !p.serve(t, 1) {
			t.Fatalf("round %d: not called with just the fourth", round)
		}
	}
}

// TestFirstBatchAfterRestart calls whatever the event index: what was signalled before is unknown.
func TestFirstBatchAfterRestart(t *testing.T) {
	for _, ring := range []virtio.Features{0, virtio.FeatureRingPacked} {
		r := newNotifyRig(t, modern|ring, 8, 0)
		if ring == 0 {
			r.driver.Split().SetUsedEvent(5)
		} else {
			r.driver.Packed().SetDriverEvent(5|1<<15, 2)
		}
		if !r.serve(t, 1) || r.serve(t, 1) {
			t.Fatal("the first batch, and only that one, calls in any case")
		}
	}
}

// TestKicks: the driver kicks exactly when the device wants it.
func TestKicks(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newNotifyRig(t, f.features, 8, 0)
			kicks := func() bool {
				t.Helper()
				r.add(t, r.req)
				kicked := r.publish(t)
				ok, err := r.driver.WaitKick(0)
				if err != nil || ok != kicked {
					t.Fatalf("kicked %v, but the eventfd says %v (%v)", kicked, ok, err)
				}
				return kicked
			}
			drain := func() {
				t.Helper()
				for r.queue.Pending() {
					r.queue.Push(r.fetch(t), 1)
				}
				_, err := r.queue.Publish()
				mustNot(t, err)
				for r.driver.Outstanding() > 0 {
					r.reap(t)
				}
			}
			for i := range 30 {
				if r.queue.EnableKicks() {
					t.Fatal("an empty ring has something")
				}
				if !kicks() {
					t.Fatalf("round %d: no kick", i)
				}
				if !r.queue.EnableKicks() {
					t.Fatal("EnableKicks does not see what came before it")
				}
				drain()
				r.queue.DisableKicks()
				r.queue.DisableKicks()
				for range 1 + i%7 {
					if kicks() {
						t.Fatalf("round %d: a kick although kicks are off", i)
					}
				}
				drain()
			}
			if got := r.driver.Outstanding(); got != 0 {
				t.Fatal(got)
			}
		})
	}
}

// TestNoCallEventfd: SET_VRING_CALL may come without one.
func TestNoCallEventfd(t *testing.T) {
	r := newNotifyRig(t, modern, 8, 0)
	r.queue.SetCall(-1)
	if r.serve(t, 1) {
		t.Fatal("called nobody")
	}
}

func TestCallThatFails(t *testing.T) {
	r := newNotifyRig(t, virtio.FeatureVersion1, 8, 0)
	r.add(t, r.req)
	r.publish(t)
	r.queue.Push(r.fetch(t), 1)
	r.queue.SetCall(1 << 30) // not open
	if _, err := r.queue.Publish(); err == nil {
		t.Fatal("no error")
	}
	r.reap(t) // the completion is there all the same
	r.queue.SetCall(-1)
}

// TestUsedFlagsSurvivePublishing: NO_NOTIFY shares a word with the index.
func TestUsedFlagsSurvivePublishing(t *testing.T) {
	r := newNotifyRig(t, virtio.FeatureVersion1, 8, 0)
	r.queue.DisableKicks()
	r.serve(t, 3)
	if got := r.driver.Split().UsedFlags(); got != 1 {
		t.Fatalf("flags %#x after publishing", got)
	}
	r.queue.EnableKicks()
	if got := r.driver.Split().UsedFlags(); got != 0 {
		t.Fatalf("flags %#x", got)
	}
	if got := r.driver.Split().UsedIdx(); got != 3 {
		t.Fatalf("index %d", got)
	}
}

// TestSleepingDriver: the driver waits for calls only.
func TestSleepingDriver(t *testing.T) {
	for _, f := range formats {
		r := newNotifyRig(t, f.features, 8, 0)
		for range 20 {
			r.add(t, r.req)
			r.publish(t)
			if r.driver.EnableCalls() {
				t.Fatal("completed by nobody")
			}
			r.queue.Push(r.fetch(t), 1)
			_, err := r.queue.Publish()
			mustNot(t, err)
			if ok, err := r.driver.WaitCall(10 * time.Second); !ok || err != nil {
				t.Fatalf("%s: no call (%v)", f.name, err)
			}
			r.reap(t)
			r.driver.DisableCalls()
		}
	}
}
