package blk

import (
	"slices"
	"time"
)

// A queue moves to another worker in three steps, each on the worker that owns it:
//
//	leave ──► it fetches nothing; what is in flight ends where it is ──► detach ──► place on the other one
//
// Slots, buffers, ranges and flushes belong to requests, so to a queue with nothing in flight belongs nothing of its
// worker but its place there and the poll of its kicks. Whoever controls the device finds the queue on one worker or on
// the other: the first and the last two steps hold the device's mutex, as all control does. In between the queue is on its
// old worker, and everything works as ever: a stop ends the move.
//
// No kick is lost: nobody reads the eventfd, and the new worker looks at the ring when the queue comes.

// movePatience is the balancer's: the driver's new requests wait meanwhile, so not long.
const movePatience = 50 * time.Millisecond

// move takes q to another worker, when its requests in flight end before the patience does. It returns false when it stays
// where it is. Any goroutine may call it that is no worker.
func (p *Pool) move(q *queue, to *worker, patience <-chan time.Time) bool {
	to.do(func() {}) // a worker that does not answer must not get a queue, and must not be waited for with the mutex
	empty := make(chan struct{})
	if !q.dev.beginMove(q, to, empty) {
		return false
	}
	select {
	case <-empty:
	case <-patience:
	}
	return q.dev.endMove(q, to)
}

func (d *Device) beginMove(q *queue, to *worker, empty chan<- struct{}) (began bool) {
	if !d.mu.TryLock() {
		return false // its session is at work
	}
	defer d.mu.Unlock()
	if d.queue(q.index) != q || q.w == to {
		return false
	}
	q.w.do(func() { began = q.w.leave(q, empty) })
	return began
}

func (d *Device) endMove(q *queue, to *worker) (moved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue(q.index) != q {
		return false // stopped
	}
	q.w.do(func() { moved = q.w.detach(q) })
	if moved {
		to.do(func() {
			to.place(q)
			to.account.movedIn++
		})
	}
	return moved
}

// leave has a queue fetch nothing more. empty is closed when none of its requests is in flight, or when it is stopped.
func (w *worker) leave(q *queue, empty chan<- struct{}) bool {
	if q.stopping || q.ended || q.moving {
		return false
	}
	q.moving, q.empty = true, empty
	w.settleMove(q)
	return true
}

// settleMove tells whoever moves the queue that nothing is in flight.
func (w *worker) settleMove(q *queue) {
	if q.empty != nil && q.inflight == 0 {
		close(q.empty)
		q.empty = nil
	}
}

// stay ends a move. The queue is looked at again: its kicks may have come to nothing meanwhile.
func (w *worker) stay(q *queue) {
	if q.empty != nil {
		close(q.empty)
	}
	q.moving, q.empty = false, nil
	w.heat(q)
}

// detach gives a queue up, or keeps it when it is not ready to go: it is being stopped, its disk is slow, or a barrier
// holds it, whose order is decided here.
func (w *worker) detach(q *queue) bool {
	if !q.moving {
		return false
	}
	q.balance.stays = time.Since(w.pool.start) + stayFor
	if q.inflight > 0 || q.publishing || q.gate.held {
		w.stay(q)
		return false
	}
	q.moving = false
	w.disarmKick(q)
	w.hot = slices.DeleteFunc(w.hot, func(other *queue) bool { return other == q })
	q.hot = false
	if w.looking == q {
		w.looking = nil
	}
	w.remove(q)
	return true
}

// place puts a queue on this worker and has it looked at.
func (w *worker) place(q *queue) {
	q.w = w
	q.done = newSlotList()
	q.gate = &q.dev.gates[w.id]
	w.queues = append(w.queues, q)
	if q.gate.queues++; q.gate.queues == 1 {
		w.setDevices(w.devices + 1)
	}
	w.armKick(q)
	w.heat(q)
}

// remove is the other end of place.
func (w *worker) remove(q *queue) {
	if q.gate.queues--; q.gate.queues == 0 {
		w.setDevices(w.devices - 1)
	}
	w.queues = slices.DeleteFunc(w.queues, func(other *queue) bool { return other == q })
}
