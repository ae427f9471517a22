package blk

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// retryDelay is the first delay before an operation is tried again. tick is how often the worker looks, while something
// waits for the clock: an operation, or a queue without a kick descriptor.
const (
	retryDelay = time.Millisecond
	tick       = time.Millisecond
)

// retryTimer is the worker's one timeout operation.
type retryTimer struct {
	armed   bool
	waiting slotList // operations to be tried again when they are due
}

// armTimer has timerFired called after a tick.
func (w *worker) armTimer() {
	if w.timer.armed {
		return
	}
	w.timer.armed = true
	ts := w.mem.timeout.Bytes()
	binary.NativeEndian.PutUint64(ts[0:], 0)
	binary.NativeEndian.PutUint64(ts[8:], uint64(tick.Nanoseconds()))
	w.sqe(kindTimer, 0).Timeout(w.mem.timeout.Addr(), 0, 0)
}

// retryLater tries the slot's operation again after a delay, a bounded number of times.
func (w *worker) retryLater(s *slot, errno unix.Errno) {
	if s.retries == maxRetries {
		w.failed(s, errno)
		return
	}
	s.due = time.Since(w.pool.start) + retryDelay<<s.retries
	s.retries++
	w.timer.waiting.push(w.slots, s)
	w.armTimer()
}

// timerFired resumes what is due.
func (w *worker) timerFired() {
	w.timer.armed = false
	now := time.Since(w.pool.start)
	waiting := w.timer.waiting
	w.timer.waiting = newSlotList()
	for s := waiting.pop(w.slots); s != nil; s = waiting.pop(w.slots) {
		if s.due > now {
			w.timer.waiting.push(w.slots, s)
			w.armTimer()
			continue
		}
		w.resume(s)
	}
	for _, q := range w.kickless {
		w.heat(q)
	}
}

// resume does the slot's step again.
func (w *worker) resume(s *slot) {
	switch s.step {
	case stepBounce:
		w.submitBounce(s)
	case stepReadHead, stepReadTail:
		w.submitEdge(s)
	case stepFallocate, stepZeros:
		w.nextSegment(s)
	default:
		w.submitData(s)
	}
}
