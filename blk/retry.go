package blk

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// retryDelay is the first delay before an operation is tried again, kicklessPeriod how often a queue without a kick
// descriptor is looked at while its worker has nothing else to do.
const (
	retryDelay     = time.Millisecond
	kicklessPeriod = time.Millisecond
)

// retryTimer is the worker's one timeout operation.
type retryTimer struct {
	armed   bool
	waiting slotList // to be tried again when it fires
}

// armTimer has timerFired called after d, or earlier when the timer runs already.
func (w *worker) armTimer(d time.Duration) {
	if w.timer.armed {
		return
	}
	w.timer.armed = true
	ts := w.mem.timeout.Bytes()
	binary.NativeEndian.PutUint64(ts[0:], 0)
	binary.NativeEndian.PutUint64(ts[8:], uint64(d.Nanoseconds()))
	w.sqe(kindTimer, 0).Timeout(w.mem.timeout.Addr(), 0, 0)
}

// retryLater tries the slot's operation again after a delay, a bounded number of times.
func (w *worker) retryLater(s *slot, errno unix.Errno) {
	if s.retries == maxRetries {
		w.failed(s, errno)
		return
	}
	s.retries++
	w.timer.waiting.push(w.slots, s)
	w.armTimer(retryDelay << (s.retries - 1))
}

// timerFired resumes what waited.
func (w *worker) timerFired() {
	w.timer.armed = false
	waiting := w.timer.waiting
	w.timer.waiting = newSlotList()
	for s := waiting.pop(w.slots); s != nil; s = waiting.pop(w.slots) {
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
