package blk_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// mover moves the queues of a device at random until it is stopped.
type mover struct {
	t               *testing.T
	dev             *blk.Device
	queues, workers int
	stop            chan struct{}
	ended           sync.WaitGroup
	moved, stayed   atomic.Int64
}

func startMover(t *testing.T, dev *blk.Device, queues, workers int) *mover {
	m := &mover{t: t, dev: dev, queues: queues, workers: workers, stop: make(chan struct{})}
	m.ended.Go(func() {
		for {
			select {
			case <-m.stop:
				return
			default:
			}
			if dev.Move(rand.IntN(queues), rand.IntN(workers)) {
				m.moved.Add(1)
			} else {
				m.stayed.Add(1)
			}
		}
	})
	return m
}

func (m *mover) end() {
	close(m.stop)
	m.ended.Wait()
}

// wantMoves ends it, and fails the test when it has not moved queues n times.
func (m *mover) wantMoves(n int64) {
	m.t.Helper()
	m.end()
	m.t.Logf("%d moves, %d times it stayed", m.moved.Load(), m.stayed.Load())
	if m.moved.Load() < n {
		m.t.Error("the queues have hardly moved")
	}
}

// controls does to a device what sessions and operators do to it, at random, until it is stopped.
type controls struct {
	r     *rig
	stop  chan struct{}
	ended sync.WaitGroup
	done  map[string]int
}

func startControls(r *rig, queues int) *controls {
	c := &controls{r: r, stop: make(chan struct{}), done: map[string]int{}}
	c.ended.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			case <-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond): // the load must come on, too
			}
			name, f := c.pick(rand.IntN(queues))
			f()
			c.done[name]++
		}
	})
	return c
}

func (c *controls) pick(q int) (string, func()) {
	r := c.r
	switch rand.IntN(9) {
	case 0:
		return "memory", func() {
			next, err := r.mem.Table()
			if err != nil {
				r.t.Error(err)
				return
			}
			if err := r.dev.SetMemory(next); err != nil {
				r.t.Error(err)
			}
			r.table.Release()
			r.table = next
		}
	case 1:
		return "restart", func() {
			base, err := r.dev.StopQueue(q)
			if err != nil {
				r.t.Error(err)
				return
			}
			r.startAt(q, base)
		}
	case 2:
		return "held", func() {
			r.dev.SetHeld(true)
			r.dev.SetHeld(false)
		}
	case 3:
		return "disabled", func() {
			for _, on := range []bool{false, true} {
				if err := r.dev.UpdateQueue(q, func(vq *virtio.Queue) { vq.SetEnabled(on) }); err != nil {
					r.t.Error(err)
				}
			}
		}
	case 4:
		return "features", func() {
			if err := r.dev.SetFeatures(uint64(allFeatures &^ blk.FeatureConfigWCE)); err != nil {
				r.t.Error(err)
			}
		}
	case 5:
		return "resize", func() {
			if _, _, err := r.dev.Resize(false); err != nil {
				r.t.Error(err)
			}
		}
	case 6:
		return "counters", func() { _, _ = r.dev.Completed(), r.dev.Stats() }
	case 7:
		return "pending", func() { _ = r.pool.Pending() }
	}
	return "flush", func() {
		if err := r.dev.Flush(); err != nil {
			r.t.Error(err)
		}
	}
}

func (c *controls) end() {
	close(c.stop)
	c.ended.Wait()
}
