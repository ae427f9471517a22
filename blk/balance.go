package blk

import (
	"time"
)

// A queue begins on the worker that is next in turn, whatever the others do (Device.StartQueue). Where several busy
// queues have come together while another worker has little to do, one of them moves there (move.go).
//
// There is no timer: workers that are busy wake the balancer twice a second at most, and nobody does when all are idle.
const (
	// busyLoad is the part of its time from which on a worker has too much to do.
	busyLoad = 0.7
	// leastGain is by how much the busier one of two workers must be relieved for a move to be worth it. Two workers with
	// one busy queue each, or a worker with a single one, have nothing to gain.
	leastGain = 0.2
	// balanceEvery is the time between two looks at the loads. What is found must be found in two looks in succession.
	balanceEvery = 500 * time.Millisecond
	// stayFor is how long a queue stays after a move, or after one that had to be given up.
	stayFor = 10 * time.Second
)

// balancer moves queues between the workers of a pool. It is one goroutine, which owns all but the channels.
type balancer struct {
	pool  *Pool
	woken chan struct{}
	quit  chan struct{} // nil: not started
	ended chan struct{}

	at    time.Duration // of the last look
	round uint64        // numbers the looks, those that were left out included
	from  *worker       // where the last look found a queue that should move
}

func newBalancer(p *Pool) *balancer {
	return &balancer{pool: p, woken: make(chan struct{}, 1)}
}

// start is called when all workers are there.
func (b *balancer) start() {
	b.quit, b.ended = make(chan struct{}), make(chan struct{})
	go b.run()
}

// wake asks for a look. It never blocks, and it is called by workers.
func (b *balancer) wake() {
	select {
	case b.woken <- struct{}{}:
	default:
	}
}

func (b *balancer) run() {
	defer close(b.ended)
	for {
		select {
		case <-b.quit:
			return
		case <-b.woken:
			b.look()
		}
	}
}

// stop ends the goroutine, after the move that is under way.
func (b *balancer) stop() {
	if b.quit != nil {
		close(b.quit)
		<-b.ended
	}
}

// look measures, and moves one queue at most.
func (b *balancer) look() {
	now := time.Since(b.pool.start)
	if now-b.at < balanceEvery {
		return // somebody else has woken us
	}
	b.round++
	if now-b.at > 2*balanceEvery {
		b.round, b.from = b.round+1, nil // what was counted then says nothing of now
	}
	b.at = now
	m, found := chooseMove(b.survey(now))
	again := found && b.from == m.from
	b.from = nil
	switch {
	case !found:
	case !again:
		b.from = m.from
	case b.pool.move(m.queue, m.to, time.After(movePatience)):
		m.queue.dev.opt.Log.Debug("queue moved to a worker that has less to do",
			"queue", m.queue.index, "worker", m.to.id, "from", m.from.id, "gain", m.gain)
	}
}

// workerLoad is what the balancer knows of a worker.
type workerLoad struct {
	w      *worker
	load   float64
	queues []queueLoad // of a busy one: those that may move and have done something
	all    uint64      // requests completed by all its queues
}

type queueLoad struct {
	q         *queue
	completed uint64 // since the last look
}

// survey asks the busy workers what their queues have done since the last look.
func (b *balancer) survey(now time.Duration) []workerLoad {
	loads := make([]workerLoad, len(b.pool.workers))
	for i, w := range b.pool.workers {
		l := &loads[i]
		l.w, l.load = w, w.meter.recent(now)
		if l.load >= busyLoad {
			w.do(func() { w.countQueues(b.round, now, l) })
		}
	}
	return loads
}

// countQueues notes for each queue how many requests it has completed; what the last round has noted is the base.
func (w *worker) countQueues(round uint64, now time.Duration, l *workerLoad) {
	for _, q := range w.queues {
		c := &q.balance
		done := q.count.completed - c.completed
		known := c.round == round-1
		c.round, c.completed = round, q.count.completed
		if !known || done == 0 {
			continue
		}
		l.all += done
		if now >= c.stays {
			l.queues = append(l.queues, queueLoad{q, done})
		}
	}
}

// balanceState is what a queue's worker keeps for the balancer.
type balanceState struct {
	round     uint64 // when completed was noted
	completed uint64
	stays     time.Duration // until then, on the pool's clock
}

// plannedMove is a queue that should move.
type plannedMove struct {
	queue    *queue
	from, to *worker
	gain     float64
}

// chooseMove finds the move to the least busy worker that relieves the busier one of the two the most. A queue is taken
// to cause a part of its worker's load as large as its part of the requests.
func chooseMove(loads []workerLoad) (best plannedMove, found bool) {
	least := &loads[0]
	for i := range loads {
		if loads[i].load < least.load {
			least = &loads[i]
		}
	}
	for i := range loads {
		from := &loads[i]
		for _, q := range from.queues {
			part := from.load * float64(q.completed) / float64(from.all)
			gain := from.load - max(from.load-part, least.load+part)
			if gain >= leastGain && gain > best.gain {
				best, found = plannedMove{queue: q.q, from: from.w, to: least.w, gain: gain}, true
			}
		}
	}
	return best, found
}
