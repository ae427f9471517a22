package blk

import (
	"sync/atomic"
)

// holdKind says what a slot holds of its Disk's ranges.
type holdKind uint8

const (
	holdNone    holdKind = iota
	holdPlain            // a write that no range was needed for; counted, so that a later range can wait for it
	holdRange            // a range, from home
	holdWaiting          // has asked for one
)

// rangeLocks keep writes apart that share a unit of the Disk. A write that covers a unit in part reads the unit,
// modifies it and writes it back; meanwhile nobody else may write there. It belongs to the device's home worker, apart
// from active. While no such write is under way, a write pays one atomic load.
//
// When the first one comes, active is raised and every worker is asked to settle: to answer when the writes that it
// submitted without a range have ended. From then on each write asks home for its range, until nobody holds one.
type rangeLocks struct {
	active  atomic.Bool
	held    []rangeHold
	waiting []rangeHold // in order of arrival
	settle  int         // workers that have not settled yet
}

// rangeHold is a range of whole units of the Disk, [lo, hi) in bytes, of one request.
type rangeHold struct {
	worker, slot int32
	lo, hi       int64
	exclusive    bool
}

func (a rangeHold) conflicts(b rangeHold) bool {
	return (a.exclusive || b.exclusive) && a.lo < b.hi && b.lo < a.hi
}

// unsettled is what a worker knows of one device's writes: how many have no range, and whether home waits for them.
type unsettled struct {
	writes int
	asked  bool
	_      [48]byte
}

// takeRange is asked for each modification of [lo, hi). It returns true when the request may go on at once, false when
// locked will be called.
func (w *worker) takeRange(s *slot, lo, hi int64) bool {
	d := s.queue.dev
	if !d.partial {
		return true // every request covers whole units
	}
	exclusive := s.part || lo%d.unit != 0 || hi%d.unit != 0
	if !exclusive && !d.ranges.active.Load() {
		s.hold = holdPlain
		d.unsettled[w.id].writes++
		return true
	}
	s.hold, s.step = holdWaiting, stepLock
	w.send(d.homeWorker(), message{
		kind: msgLock, from: w.id, slot: s.id, dev: d,
		lo: roundDown(lo, d.unit), hi: roundUp(hi, d.unit), exclusive: exclusive,
	})
	return false
}

// locked goes on with a request that has got its range.
func (w *worker) locked(s *slot) {
	s.hold = holdRange
	if s.kind == RequestOut {
		w.submitData(s)
	} else {
		w.nextSegment(s)
	}
}

// releaseRange gives back what the slot holds.
func (w *worker) releaseRange(s *slot) {
	hold := s.hold
	s.hold = holdNone
	switch hold {
	case holdPlain:
		d := s.queue.dev
		u := &d.unsettled[w.id]
		u.writes--
		if u.asked && u.writes == 0 {
			u.asked = false
			w.send(d.homeWorker(), message{kind: msgSettled, from: w.id, dev: d})
		}
	case holdRange:
		d := s.queue.dev
		w.send(d.homeWorker(), message{kind: msgUnlock, from: w.id, slot: s.id, dev: d})
	}
}

// settle answers home, now or when the last write without a range has ended.
func (w *worker) settle(d *Device) {
	u := &d.unsettled[w.id]
	if u.writes > 0 {
		u.asked = true
		return
	}
	w.send(d.homeWorker(), message{kind: msgSettled, from: w.id, dev: d})
}

func (r *rangeLocks) lock(home *worker, d *Device, h rangeHold) {
	r.waiting = append(r.waiting, h)
	if !r.active.Load() && h.exclusive {
		r.active.Store(true)
		r.settle = len(home.pool.workers)
		for _, w := range home.pool.workers {
			home.send(w, message{kind: msgSettle, from: home.id, dev: d})
		}
		return
	}
	r.grant(home, d)
}

func (r *rangeLocks) settled(home *worker, d *Device) {
	r.settle--
	r.grant(home, d)
}

func (r *rangeLocks) unlock(home *worker, d *Device, worker, slot int32) {
	for i, h := range r.held {
		if h.worker == worker && h.slot == slot {
			r.held[i] = r.held[len(r.held)-1]
			r.held = r.held[:len(r.held)-1]
			break
		}
	}
	r.grant(home, d)
}

// grant gives ranges to all who wait and conflict neither with a holder nor with one who waits longer. Granting may
// call back into the lists, so each round starts anew until nothing can be granted.
func (r *rangeLocks) grant(home *worker, d *Device) {
	for {
		i := r.grantable()
		if i < 0 {
			break
		}
		h := r.waiting[i]
		r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
		r.held = append(r.held, h)
		home.send(home.pool.workers[h.worker], message{kind: msgLocked, slot: h.slot, dev: d})
	}
	if len(r.held) == 0 && len(r.waiting) == 0 && r.settle == 0 {
		r.active.Store(false)
	}
}

// grantable returns the index of a waiting range that can be granted, or -1. Exclusive ones wait until all workers have
// settled.
func (r *rangeLocks) grantable() int {
next:
	for i, h := range r.waiting {
		if h.exclusive && r.settle > 0 {
			continue
		}
		for _, other := range r.held {
			if h.conflicts(other) {
				continue next
			}
		}
		for _, earlier := range r.waiting[:i] {
			if h.conflicts(earlier) {
				continue next
			}
		}
		return i
	}
	return -1
}
