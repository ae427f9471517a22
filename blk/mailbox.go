package blk

import (
	"sync"
	"sync/atomic"

	"github.com/vublk/vublk/internal/sys"
)

// mailbox carries control work to a worker: rare, allocating, in order. Requests never go through it.
type mailbox struct {
	bell  *sys.FD // eventfd, polled by the worker's ring; also rung for the inbox
	ready atomic.Bool
	mu    sync.Mutex
	jobs  []func()
}

// do runs f on the worker and returns when it has run, or when the pool was closed. It must not be called by a worker.
func (w *worker) do(f func()) {
	done := make(chan struct{})
	w.mail.mu.Lock()
	w.mail.jobs = append(w.mail.jobs, func() { defer close(done); f() })
	w.mail.mu.Unlock()
	w.mail.ready.Store(true)
	w.wake()
	select {
	case <-done:
	case <-w.pool.ended[w.id]:
	}
}

// wake wakes the worker if it sleeps, or is about to.
func (w *worker) wake() {
	if w.sleeping.Load() {
		_ = sys.Signal(w.mail.bell.Int()) // an eventfd that we own: it cannot fail
	}
}

// runMail runs what has been posted.
func (w *worker) runMail() {
	if !w.mail.ready.Load() {
		return
	}
	w.mail.ready.Store(false)
	w.mail.mu.Lock()
	jobs := w.mail.jobs
	w.mail.jobs = nil
	w.mail.mu.Unlock()
	for _, job := range jobs {
		job()
	}
}
