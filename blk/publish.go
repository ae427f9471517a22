package blk

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/guestmem"
)

// finish marks a request as done; publish tells the driver.
func (w *worker) finish(s *slot, status byte) {
	q := s.queue
	if w.holding == s {
		w.holding = nil // the done list has it from here on
	}
	s.status = status
	w.releaseBuffer(s)
	w.releaseRange(s)
	if s.barrier != barrierNone {
		done, final := w.barrierStep(s, status)
		if !done {
			return
		}
		s.status = final
	}
	q.done.push(w.slots, s)
	if !q.publishing {
		q.publishing = true
		w.publishing = append(w.publishing, q)
	}
}

// publish hands finished requests back, a queue at a time: one used index, at most one call.
func (w *worker) publish() {
	for i := 0; i < len(w.publishing); i++ { // what ends may set going and end what waited for it
		q := w.publishing[i]
		q.publishing = false
		if err := w.deliver(q); err != nil {
			w.dropHeld()
			w.breakQueue(q, err)
		}
		for s := q.done.pop(w.slots); s != nil; s = q.done.pop(w.slots) {
			w.logDropped(s)
			q.vq.Push(s.token, 0) // the queue is broken: the driver is not told, the count is kept right
			w.forget(s)
		}
		w.heat(q)
		w.settleQueue(q)
	}
	w.publishing = w.publishing[:0]
}

func (w *worker) deliver(q *queue) (err error) {
	if q.vq.Err() != nil {
		return nil
	}
	w.looking = q
	defer guestmem.Recover(&err)
	var a answers
	for s := q.done.pop(w.slots); s != nil; s = q.done.pop(w.slots) {
		w.holding = s
		written := s.written
		if s.answer[0].Len != 0 {
			guestmem.PutByte(s.answer[0].Base, s.status)
			written++
			if s.op != a.op || s.began != a.began {
				w.count(q, &a)
				a = answers{op: s.op, began: s.began}
			}
			if s.status != statusOK || s.bounced {
				a.odd(s)
			}
			a.requests++
			a.bytes += s.bytes
		}
		if q.gate.log != nil {
			w.logEnd(s)
		}
		q.vq.Push(s.token, written)
		w.holding = nil
		q.count.completed++
		w.forget(s)
	}
	w.count(q, &a)
	called, err := q.vq.Publish()
	if called {
		q.count.calls++
	}
	return err
}

// forget gives a slot back that nobody waits for any more.
func (w *worker) forget(s *slot) {
	q := s.queue
	q.inflight--
	q.gate.active--
	s.gen.leave()
	w.putSlot(s)
	w.settleGate(q.dev, q.gate)
}

// dropHeld gives back the slot that a fault left behind: taken, and on no list.
func (w *worker) dropHeld() {
	s := w.holding
	if s == nil {
		return
	}
	w.holding = nil
	if s.queue == nil {
		w.putSlot(s)
		return
	}
	w.releaseBuffer(s)
	w.releaseRange(s)
	w.forget(s)
}

// breakQueue ends the service of a queue whose driver, or whose memory, cannot be trusted. Other queues go on.
func (w *worker) breakQueue(q *queue, err error) {
	if !q.broken {
		q.broken = true
		q.count.broken++
		q.vq.Break(err)
		q.dev.opt.Log.Error("queue broken: it is not served until its driver resets the device", "queue", q.index, "error", err)
	}
	if fault := (*guestmem.FaultError)(nil); errors.As(err, &fault) {
		q.dev.opt.Fail(err)
	}
	w.settleQueue(q)
}
