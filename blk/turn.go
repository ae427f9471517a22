package blk

import (
	"time"

	"github.com/vublk/vublk/virtio/guestmem"
)

// turn ends a round of the worker: one io_uring_enter submits the round's batch and, when there is nothing else to do,
// waits. more says that a queue's budget ended before its ring did.
func (w *worker) turn(more bool) {
	switch {
	case more || w.mail.ready.Load() || w.inbox.ready():
		w.submit()
	case w.poller.window == 0:
		w.rest()
	default:
		w.submit()
		if w.ring.Ready() == 0 && !w.spin() {
			w.rest()
		}
	}
}

// submit hands over what there is, without waiting.
func (w *worker) submit() {
	if w.ring.Pending() > 0 || w.ring.NeedsEnter() {
		w.enter(0)
	}
}

func (w *worker) enter(wait uint32) {
	w.timeAnswers()
	w.account.enters++
	if err := w.ring.Enter(wait); err != nil {
		// Nothing that a guest or a disk does leads here. Going round keeps the other disks alive.
		w.pool.opt.Log.Error("io_uring_enter failed", "worker", w.id, "error", err)
		time.Sleep(time.Millisecond)
	}
}

// clockEvery is how many looks the spin takes between two readings of the clock.
const clockEvery = 32

// spin looks at everything that can bring work, without a system call, for the polling window.
func (w *worker) spin() (found bool) {
	l, err := w.spinGuarded()
	w.meter.spun += l.spent
	w.account.polled += l.spent
	if err != nil {
		w.breakQueue(w.looking, err)
		return true
	}
	w.poller.polled(l)
	return l.found
}

func (w *worker) spinGuarded() (l look, err error) {
	defer guestmem.Recover(&err)
	begin := time.Since(w.pool.start)
	w.takeTime(begin)
	for n := 1; ; n++ {
		if w.glance() {
			l.found = true
			return l, nil
		}
		if n%clockEvery != 0 {
			continue
		}
		last := l.spent
		l.spent = time.Since(w.pool.start) - begin
		l.robbed = w.poller.mode.auto && l.spent-last > robbedGap
		if l.robbed || l.spent > w.poller.window {
			return l, nil
		}
	}
}

// glance tells whether there is work: a request that may be fetched, a completion, a message.
func (w *worker) glance() bool {
	for _, q := range w.hot {
		w.looking = q
		if q.serving() && !w.full(q) && q.vq.Pending() {
			return true
		}
	}
	return w.ring.Ready() > 0 || w.ring.NeedsEnter() || w.inbox.ready() || w.mail.ready.Load()
}

// rest sleeps until a completion, a kick or the doorbell, unless a last look finds work.
func (w *worker) rest() {
	w.sleeping.Store(true)
	if w.cool(always) || w.inbox.ready() || w.mail.ready.Load() || len(w.unsent) > 0 {
		w.sleeping.Store(false)
		w.submit()
		return
	}
	w.enter(1)
	w.sleeping.Store(false)
	now := time.Since(w.pool.start)
	w.poller.slept(now - w.now)
	w.now = now
}

// How long a queue without requests stays hot while its worker is busy with others. Looking at it costs little, kicks cost
// the driver a system call each.
const (
	always  = -1
	coolLag = 50 * time.Microsecond
)

// cool asks the drivers of the hot queues that had nothing for longer than lag for kicks again and looks a second time.
// It returns whether some queue has work after all; those stay hot, the others leave. Queues that may not fetch stay hot,
// too: completions wake us.
func (w *worker) cool(lag time.Duration) bool {
	found := false
	kept := w.hot[:0]
	for _, q := range w.hot {
		stays := q.serving() && w.full(q) || w.now-q.busy <= lag
		if !stays {
			pending, err := w.coolQueue(q)
			if err != nil {
				w.breakQueue(q, err)
			}
			found = found || pending
			stays = pending
		}
		if q.hot = stays; stays {
			kept = append(kept, q)
		}
	}
	clear(w.hot[len(kept):])
	w.hot = kept
	return found
}

func (w *worker) coolQueue(q *queue) (pending bool, err error) {
	if !q.serving() {
		return false, nil
	}
	w.looking = q
	defer guestmem.Recover(&err)
	q.quiet = false
	return q.vq.EnableKicks(), nil
}

// heat has a queue looked at in the next turn.
func (w *worker) heat(q *queue) {
	q.busy = w.now
	if !q.hot && q.serving() {
		q.hot = true
		w.hot = append(w.hot, q)
	}
}
