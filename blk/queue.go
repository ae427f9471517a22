package blk

import (
	"time"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// queue is a virtqueue on its worker: after its start nobody but that worker touches it. w changes under the device's
// mutex only.
type queue struct {
	vq    *virtio.Queue
	dev   *Device
	w     *worker
	index int

	inflight int // slots
	done     slotList
	gen      *generation

	hot        bool          // in worker.hot: looked at each turn
	busy       time.Duration // when it last had something, on the worker's clock
	quiet      bool          // the driver was asked not to kick
	publishing bool          // in worker.publishing: has done slots
	held       bool          // started, not served: see Device.SetHeld
	poll       int32
	shots      int               // completions of the poll since it was armed
	stopping   bool              // no more fetching
	ended      bool              // its stop was answered: hands off
	stopped    chan<- stopResult // while stopping: told when nothing is in flight
	moving     bool              // no more fetching here: see move.go
	empty      chan<- struct{}   // while moving: closed when nothing is in flight
	gate       *gate
	broken     bool // what its driver did, or its memory, ended its service
	count      *queueCounters
	balance    balanceState
}

// stopResult is what a stopped queue leaves behind.
type stopResult struct {
	base virtio.Base
	err  error
}

// generation counts the requests that were fetched under one memory table. The table stays mapped until the last of
// them has ended, because until then the kernel may write there.
type generation struct {
	table    *guestmem.Table
	inflight int
	retired  bool
}

func newGeneration(t *guestmem.Table) *generation {
	t.Retain()
	return &generation{table: t}
}

// retire is called when a newer table has taken over.
func (g *generation) retire() {
	g.retired = true
	g.settle()
}

// leave is called when a request of this generation has ended.
func (g *generation) leave() {
	if g.inflight--; g.retired {
		g.settle()
	}
}

func (g *generation) settle() {
	if g.retired && g.inflight == 0 && g.table != nil {
		g.table.Release()
		g.table = nil
	}
}

// serving tells whether requests may be fetched.
func (q *queue) serving() bool {
	if q.ended {
		return false
	}
	return (!q.stopping || q.vq.Recovering()) && !q.moving && !q.held && !q.gate.held && q.vq.Live()
}

// drained tells whether a stop may be answered: nothing is in flight, and what a predecessor had in flight has been done
// too, unless the queue is held or broken and must not.
func (q *queue) drained() bool {
	return q.inflight == 0 && (q.held || !q.vq.Recovering() || !q.vq.Live())
}
