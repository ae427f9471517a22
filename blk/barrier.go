package blk

import "github.com/vublk/vublk/virtio/guestmem"

// A legacy driver that negotiated BARRIER may set a flag in a request's type. The specification asks for order only
// (virtio-v1.3 5.2.6.4); here a barrier is as strong as a driver of that age believed it to be:
//
//	drain every queue of the device ─► fdatasync ─► the request ─► fdatasync ─► complete ─► go on
//
// Nothing that was made available later starts before it is complete. The device's home lets one barrier through at a
// time; each worker holds its queues of the device meanwhile.

// barrierStage is how far a request with the flag has come.
type barrierStage uint8

const (
	barrierNone   barrierStage = iota
	barrierParked              // waits until everything else has ended
	barrierBefore              // the first fdatasync
	barrierRuns                // the request itself
	barrierAfter               // the second fdatasync
)

// gate is what one worker knows of one device: its part of barriers, and what the device has in use there. It belongs
// to the worker.
type gate struct {
	held   bool // a barrier: no queue of the device fetches
	asked  bool // home waits until nothing but parked barriers is in flight
	active int  // requests in flight, parked ones included
	parked int
	queues int

	buffers int      // bounce buffers
	waiting slotList // for one
	queued  bool     // in the pool's list of those that wait

	log *guestmem.DirtyLog // of a migration, nil: none
}

// barrierQueue is home's part.
type barrierQueue struct {
	waiting []parkedBarrier // in order of arrival; the first is the one that is let through
	running bool
	acks    int // workers that are not empty yet
}

type parkedBarrier struct{ worker, slot int32 }

// park has a request with a barrier wait for its turn. The queue that it came from fetches nothing more.
func (w *worker) park(s *slot) {
	d := s.queue.dev
	s.barrier, s.step = barrierParked, stepBarrier
	s.queue.gate.held = true
	s.queue.gate.parked++
	w.send(d.homeWorker(), message{kind: msgBarrier, from: w.id, slot: s.id, dev: d})
}

// barrierCame, at home: begins when no other barrier is under way.
func (w *worker) barrierCame(d *Device, b parkedBarrier) {
	q := &d.barriers
	q.waiting = append(q.waiting, b)
	if q.running {
		return
	}
	q.running, q.acks = true, len(w.pool.workers)
	for _, other := range w.pool.workers {
		w.send(other, message{kind: msgHold, dev: d})
	}
}

// hold stops the device's queues on this worker; home is told when they are empty.
func (w *worker) hold(d *Device) {
	g := &d.gates[w.id]
	g.held, g.asked = true, true
	w.settleGate(d, g)
}

// settleGate is asked whenever a request of a held device has ended.
func (w *worker) settleGate(d *Device, g *gate) {
	if g.asked && g.active == g.parked {
		g.asked = false
		w.send(d.homeWorker(), message{kind: msgHeld, from: w.id, dev: d})
	}
}

// workerHeld, at home: when all workers are empty the first barrier goes.
func (w *worker) workerHeld(d *Device) {
	q := &d.barriers
	if q.acks--; q.acks == 0 {
		w.passBarrier(d)
	}
}

func (w *worker) passBarrier(d *Device) {
	b := d.barriers.waiting[0]
	w.send(w.pool.workers[b.worker], message{kind: msgPass, slot: b.slot, dev: d})
}

// pass begins the parked request: everything before it is complete, and is made stable now.
func (w *worker) pass(s *slot) {
	s.queue.gate.parked--
	s.barrier = barrierBefore
	w.beginFlush(s.queue.dev, s)
}

// barrierStep is where a request with a barrier comes by instead of finishing. It returns true when the request is
// really done, with its status.
func (w *worker) barrierStep(s *slot, status byte) (done bool, final byte) {
	d := s.queue.dev
	switch s.barrier {
	case barrierBefore:
		if status != statusOK {
			break // what came before is not stable: the request must not run
		}
		s.barrier = barrierRuns
		w.proceed(s)
		return false, 0
	case barrierRuns:
		if status != statusOK {
			break
		}
		s.barrier = barrierAfter
		w.beginFlush(d, s)
		return false, 0
	}
	s.barrier = barrierNone
	w.send(d.homeWorker(), message{kind: msgBarrierDone, from: w.id, slot: s.id, dev: d})
	return true, status
}

// barrierDone, at home: the next one goes, or all queues do.
func (w *worker) barrierDone(d *Device) {
	q := &d.barriers
	q.waiting = append(q.waiting[:0], q.waiting[1:]...)
	if len(q.waiting) > 0 {
		w.passBarrier(d)
		return
	}
	q.running = false
	for _, other := range w.pool.workers {
		w.send(other, message{kind: msgRelease, dev: d})
	}
}

// release lets the device's queues on this worker go on.
func (w *worker) release(d *Device) {
	g := &d.gates[w.id]
	g.held = g.parked > 0 // a barrier whose message has not reached home yet keeps its followers back
	for _, q := range w.queues {
		if q.dev == d {
			w.heat(q)
		}
	}
}
