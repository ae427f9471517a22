package blk

import (
	"slices"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// addQueue begins to serve a queue. The ring is looked at without waiting for a kick: one may have been read by a
// predecessor that died. The driver is called once: so may a call have been lost.
func (w *worker) addQueue(q *queue) {
	w.place(q)
	_ = q.vq.Notify() // a call descriptor that cannot be written is the front-end's loss
}

// update runs f on a queue whose configuration changes, and looks at the queue again.
func (w *worker) update(q *queue, f func(*virtio.Queue)) {
	err := guarded(func() error {
		f(q.vq)
		return nil
	})
	if err != nil {
		w.breakQueue(q, err)
	}
	w.heat(q)
}

// stopQueue stops fetching; told learns the ring's base when nothing is in flight any more.
func (w *worker) stopQueue(q *queue, told chan<- stopResult) {
	q.stopping, q.stopped = true, told
	if q.moving {
		w.stay(q)
	}
	w.disarmKick(q)
	if q.hot && !q.vq.Recovering() {
		q.hot = false
		w.hot = slices.DeleteFunc(w.hot, func(other *queue) bool { return other == q })
	}
	w.settleQueue(q)
}

// settleQueue completes what waits for the queue's last request to end: a stop, or the first half of a move.
func (w *worker) settleQueue(q *queue) {
	w.settleMove(q)
	if q.stopped == nil || !q.drained() {
		return
	}
	w.timeAnswers() // nothing of ours is written there from here on
	q.ended = true  // from here on the queue is the session's; w.hot may hold it until the worker rests
	var base virtio.Base
	err := guarded(func() (err error) {
		base, err = q.vq.Stop()
		return err
	})
	if q.vq.Err() != nil {
		err = nil // broken: where it stopped is all there is to say
	}
	q.gen.retire()
	w.remove(q)
	q.stopped <- stopResult{base, err} // buffered
	q.stopped = nil
}

// guarded runs control work that touches guest memory.
func guarded(f func() error) (err error) {
	defer guestmem.Recover(&err)
	return f()
}

// adopt makes a queue use memory table t. Requests under the old one end under the old one. A queue whose rings are not
// in the new one breaks; that is its driver's trouble, and no reason to refuse the table.
func (w *worker) adopt(q *queue, t *guestmem.Table) {
	q.gen.retire()
	q.gen = newGeneration(t)
	if err := guarded(func() error { return q.vq.SetMemory(t) }); err != nil {
		w.breakQueue(q, err)
	}
}
