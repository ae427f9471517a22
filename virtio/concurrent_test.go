package virtio_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	concurrentRequests = 100_000
	// lostAfter is how long a side sleeps before it calls a notification lost. Nobody sleeps that long otherwise.
	lostAfter = 20 * time.Second
)

// TestNoNotificationIsLost runs a driver and a device that know of each other only through the ring and two eventfds.
// Each sleeps when, and only when, the ring is empty for it after it has asked to be woken.
func TestNoNotificationIsLost(t *testing.T) {
	for _, f := range formats[:4] {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 64, Features: f.features, TableLen: 4})
			var done atomic.Bool
			device := make(chan error, 1)
			var sleeps int
			go func() {
				n, err := deviceLoop(r.queue, r.driver, &done)
				sleeps = n
				device <- err
			}()
			waits, err := driverLoop(t, r)
			done.Store(true)
			if err := r.driver.Kick(); err != nil { // ends the device's last sleep
				t.Fatal(err)
			}
			if e := <-device; e != nil {
				t.Fatal(e)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d requests, device slept %d times, driver %d times", concurrentRequests, sleeps, waits)
			if sleeps == 0 || waits == 0 {
				t.Fatal("nobody slept: this tests nothing")
			}
		})
	}
}

type lostError string

func (e lostError) Error() string { return string(e) }

// deviceLoop serves until done. The turn's size varies, so that batches end in all places.
func deviceLoop(q *virtio.Queue, d *virtiotest.Driver, done *atomic.Bool) (sleeps int, err error) {
	e := newEcho(q)
	for turn := 0; !done.Load(); turn++ {
		n, err := e.turn(1 + turn%37)
		if err != nil {
			return sleeps, err
		}
		if _, err := q.Publish(); err != nil {
			return sleeps, err
		}
		if n > 0 || q.EnableKicks() {
			continue
		}
		sleeps++
		if ok, err := d.WaitKick(lostAfter); err != nil || !ok {
			return sleeps, lostError("device: lost a kick")
		}
		if turn%3 == 0 {
			q.DisableKicks()
		}
	}
	return sleeps, nil
}

// driverLoop keeps a varying number of chains in the ring.
func driverLoop(t *testing.T, r *rig) (waits int, err error) {
	at := r.alloc(t, 4096)
	req := virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: at, Len: 16}},
		Writable: []virtiotest.Area{{GPA: at + 64, Len: 8}, {GPA: at + 128, Len: 1}},
	}
	sent, reaped := 0, 0
	for round := 0; reaped < concurrentRequests; round++ {
		for range round % 11 {
			if req.Indirect = round%2 == 0; sent == concurrentRequests {
				break
			}
			if _, err := r.driver.Add(req); err != nil {
				break
			}
			sent++
		}
		if _, err := r.driver.Publish(); err != nil {
			return waits, err
		}
		n, err := reapAll(r.driver)
		if err != nil {
			return waits, err
		}
		if reaped += n; n > 0 || r.driver.Outstanding() == 0 || r.driver.EnableCalls() {
			continue
		}
		waits++
		if ok, err := r.driver.WaitCall(lostAfter); err != nil || !ok {
			return waits, lostError("driver: lost a call")
		}
		if round%5 == 0 {
			r.driver.DisableCalls()
			runtime.Gosched()
		}
	}
	return waits, nil
}

func reapAll(d *virtiotest.Driver) (n int, err error) {
	for {
		c, ok, err := d.Reap()
		if err != nil || !ok {
			return n, err
		}
		if c.Len != 9 {
			return n, lostError("completion with a wrong length")
		}
		n++
	}
}
