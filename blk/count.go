package blk

import "time"

// operation is what is counted apart.
type operation uint8

const (
	opRead operation = iota
	opWrite
	opFlush
	opDiscard
	opWriteZeroes
	opOther
	opCount
)

// queueCounters are what a queue's worker counts. Nobody else reads them while the queue runs, but through the worker. They
// belong to the device, which gives them to the queue that is started next with that index.
type queueCounters struct {
	ops           [opCount]OpStats
	kicks, calls  uint64
	bounced       uint64
	flushesMerged uint64
	malformed     uint64
	barriers      uint64
	broken        uint64
	completed     uint64 // requests that the driver was told of, malformed ones included
}

// answers are requests of one kind that were fetched in the same turn and are answered one after the other: they are booked
// together, so that one of them costs a few instructions.
type answers struct {
	op              operation
	began           time.Duration
	requests, bytes uint64

	errors, unsupported, bounced uint64
}

// odd notes what few requests are.
func (a *answers) odd(s *slot) {
	switch s.status {
	case statusOK:
	case statusUnsupp:
		a.unsupported++
	default:
		a.errors++
	}
	if s.bounced {
		a.bounced++
	}
}

// count books answers. How long they took is known when the clock is read next.
func (w *worker) count(q *queue, a *answers) {
	if a.requests == 0 {
		return
	}
	op := &q.count.ops[a.op]
	op.Requests += a.requests
	op.Bytes += a.bytes
	op.Errors += a.errors
	op.Unsupported += a.unsupported
	q.count.bounced += a.bounced
	w.untimed = append(w.untimed, untimed{op: op, began: a.began, requests: a.requests})
}

// untimed are requests of one kind, fetched in the same turn, that their driver was told of after the clock was read.
type untimed struct {
	op       *OpStats
	began    time.Duration
	requests uint64
}

// takeTime notes how long requests have taken that were told of since the clock was read last. One reading serves all
// of a turn: on the fast path no clock is read for statistics only.
func (w *worker) takeTime(now time.Duration) {
	for i := range w.untimed {
		u := &w.untimed[i]
		u.op.Latency.record(now-u.began, u.requests)
	}
	w.untimed = w.untimed[:0]
}

// timeAnswers reads the clock for those that must not wait until it is read anyway: the worker is about to sleep, or to
// make a system call.
func (w *worker) timeAnswers() {
	if len(w.untimed) > 0 {
		w.takeTime(time.Since(w.pool.start))
	}
}

// countMerged counts a flush that needed no fdatasync of its own.
func (s *slot) countMerged() {
	if s.op == opFlush && (s.barrier == barrierNone || s.barrier == barrierRuns) {
		s.queue.count.flushesMerged++
	}
}
