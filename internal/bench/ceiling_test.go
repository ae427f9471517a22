package bench

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vublk/vublk/virtio/virtiotest"
)

// formats are the ways to lay requests out.
var formats = map[string]Config{
	"split":            {},
	"split, indirect":  {Indirect: true},
	"packed":           {Packed: true},
	"packed, indirect": {Packed: true, Indirect: true},
}

func TestCeiling(t *testing.T) {
	for name, c := range formats {
		t.Run(name, func(t *testing.T) {
			c.Queues, c.Depth, c.Duration, c.Mix = 2, 32, 300*time.Millisecond, Mix{WritePercent: 50, FlushPercent: 10}
			r, err := Ceiling(context.Background(), c, -1)
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests == 0 || r.Kicks > 0 {
				t.Errorf("%d requests, %d kicks", r.Requests, r.Kicks)
			}
			if r, err = SelfLoop(context.Background(), c); err != nil || r.Requests == 0 || r.Kicks > 0 {
				t.Errorf("answering itself: %d requests, %d kicks, error %v", r.Requests, r.Kicks, err)
			}
		})
	}
}

// TestCeilingOfZeroes: what is read is zeros, headers and statuses are not touched.
func TestCeilingOfZeroes(t *testing.T) {
	l, device := newSelfLoop(t, Config{Depth: 4})
	device.zeroes = true
	l.start(t)
	device.turn(device)
	if err := l.turn(true); err != nil {
		t.Fatal(err)
	}
	if l.count.done != 4 {
		t.Errorf("%d requests done, want 4", l.count.done)
	}
	for i := range l.slots {
		read := l.slots[i].chains[kindRead].Writable[0]
		if b := l.driver.Memory().Bytes(read.GPA, uint64(read.Len)); !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("slot %d: not all zeros", i)
		}
	}
	if _, err := CeilingOfZeroes(context.Background(), Config{Packed: true}, -1); err == nil {
		t.Error("packed rings are accepted")
	}
}

// newSelfLoop makes a loop and the device that only answers, for one thread.
func newSelfLoop(t testing.TB, c Config) (*loop, *echo) {
	t.Helper()
	c.NoEventIdx = true
	c.setDefaults()
	m, err := virtiotest.NewMemory(virtiotest.RAM(c.memoryFor()))
	if err != nil {
		t.Fatal(err)
	}
	d, err := virtiotest.NewDriver(m, virtiotest.Options{Size: c.ringSize(), Features: c.features(), TableLen: tableLen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []func() error{d.Close, m.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	loops, err := newLoops(&c, []*virtiotest.Driver{d}, ceilingSectors, new(atomic.Bool))
	if err != nil {
		t.Fatal(err)
	}
	return loops[0], newEcho(d, c.Packed)
}

// start is the loop's begin without its end.
func (l *loop) start(t testing.TB) {
	l.begin = time.Now()
	l.driver.DisableCalls()
	for i := range l.slots {
		if err := l.issue(uint16(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.publish(); err != nil {
		t.Fatal(err)
	}
}

func TestNoAllocationPerRequest(t *testing.T) {
	for name, c := range formats {
		t.Run(name, func(t *testing.T) {
			c.Depth, c.Mix = 32, Mix{WritePercent: 50, FlushPercent: 10}
			l, device := newSelfLoop(t, c)
			l.start(t)
			allocs := testing.AllocsPerRun(1000, func() {
				device.turn(device)
				if err := l.turn(true); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations a turn", allocs)
			}
			if l.count.done < 1000 {
				t.Errorf("only %d requests were done", l.count.done)
			}
		})
	}
}

func TestSleepDoesNotAllocate(t *testing.T) {
	l, device := newSelfLoop(t, Config{Wait: Sleeping})
	l.start(t)
	allocs := testing.AllocsPerRun(100, func() {
		if err := l.driver.EnableCalls(); err {
			t.Fatal("a completion out of nothing")
		}
		if _, err := l.driver.WaitCall(0); err != nil {
			t.Fatal(err)
		}
		device.turn(device)
		if err := l.turn(true); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a turn", allocs)
	}
}

func TestPatienceEnds(t *testing.T) {
	for _, wait := range []Wait{Polling, Sleeping} {
		l, _ := newSelfLoop(t, Config{Depth: 3, Wait: wait, Patience: 20 * time.Millisecond})
		if err := l.run(); err == nil || !strings.Contains(err.Error(), "3 requests in flight") {
			t.Errorf("error %v of a device that is dead", err)
		}
	}
}

// BenchmarkDriver is what a request costs the driver, and an answer without a look at it the device, on one thread.
func BenchmarkDriver(b *testing.B) {
	for name, c := range formats {
		b.Run(name, func(b *testing.B) {
			c.Depth = 32
			l, device := newSelfLoop(b, c)
			l.start(b)
			b.ReportAllocs()
			for end := l.count.done + uint64(b.N); l.count.done < end; {
				device.turn(device)
				if err := l.turn(true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
