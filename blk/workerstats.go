package blk

import "time"

// WorkerStats is what a worker has counted since it started. Idle, Polling and Busy make up that time.
type WorkerStats struct {
	Index  int
	CPU    int // that it is bound to; -1: none
	Queues int // placed on it

	Idle    time.Duration // asleep in the kernel
	Polling time.Duration // looking for work, as far as the clock was read: a look that finds something at once is none
	Busy    time.Duration // the rest: it ran, or waited for a CPU

	PollsWon  uint64 // polling windows that found something
	PollsLost uint64 // that did not
	Enters    uint64 // io_uring_enter calls
	MovedIn   uint64 // queues that came here because there was less to do
}

// Stats returns what the workers have counted, in the order of their indices; when they have ended, nothing. Any goroutine
// may call it. It does not wait for I/O.
func (p *Pool) Stats() (all []WorkerStats) {
	p.ask(func(w *worker) { all = append(all, w.stats()) })
	return all
}

func (w *worker) stats() WorkerStats {
	a := &w.account
	s := WorkerStats{
		Index: int(w.id), CPU: -1, Queues: len(w.queues), Polling: a.polled,
		PollsWon: w.poller.won, PollsLost: w.poller.lost, Enters: a.enters, MovedIn: a.movedIn,
	}
	if len(w.pool.opt.CPUs) > 0 {
		s.CPU = w.pool.opt.CPUs[w.id]
	}
	// Two clocks are read one after the other, so what they say does not always add up: nothing goes back.
	a.busy = max(a.busy, w.meter.usedNow()-a.used-a.polled)
	a.idle = max(a.idle, time.Since(w.pool.start)-a.began-a.busy-a.polled)
	s.Busy, s.Idle = a.busy, a.idle
	return s
}

// account is a worker's books on itself. What it uses of a CPU the kernel counts, so nothing needs to be measured when it
// begins or ends to sleep.
type account struct {
	began      time.Duration // on the pool's clock
	used       time.Duration // by the thread, of a CPU, before that
	polled     time.Duration
	busy, idle time.Duration // as they were reported last
	enters     uint64
	movedIn    uint64
}

// open begins the account, on the worker's thread.
func (a *account) open(w *worker) { a.began, a.used = time.Since(w.pool.start), w.meter.usedNow() }
