package blk

import "time"

// MostBudget is mostBudget.
const MostBudget = mostBudget

// WriteThrough tells tests which durability was decided on.
func (d *Device) WriteThrough() bool { return d.stable.Load() }

// FsyncRuns has the device's home believe that an fdatasync runs, until FsyncEnds.
func (d *Device) FsyncRuns() {
	d.homeWorker().do(func() { d.flush.running, d.flush.covers = true, d.modified() })
}

// FsyncEnds is that fdatasync's completion, with its result. Home runs before first, and handles nothing meanwhile.
func (d *Device) FsyncEnds(res int32, before func()) {
	w := d.homeWorker()
	w.do(func() {
		before()
		w.fsyncDone(d, res)
	})
}

// Modified counts a modification as a write at home does. Only FsyncEnds' before may call it.
func (d *Device) Modified() { d.touch(d.homeWorker()) }

// HasMail tells whether another worker has sent the device's home something. Only FsyncEnds' before may call it.
func (d *Device) HasMail() bool { return d.homeWorker().inbox.ready() }

// Turns is how often the workers have gone round.
func (p *Pool) Turns() int {
	n := 0
	for _, w := range p.workers {
		w.do(func() { n += int(w.turns) })
	}
	return n
}

// Unused counts the slots and the bounce buffers that no request has. A slot that was given back twice makes a ring of
// the list; it counts as one slot too many.
func (p *Pool) Unused() (slots, buffers int) {
	for _, w := range p.workers {
		w.do(func() {
			n := 0
			for i := w.free; i != none && n <= len(w.slots); i = w.slots[i].next {
				n++
			}
			slots, buffers = slots+n, buffers+len(w.buffers.unused)
		})
	}
	return slots, buffers
}

// BufferCount is how many bounce buffers a worker has.
const BufferCount = bufferCount

// CoolLag is how long a queue that has nothing stays hot.
const CoolLag = coolLag

// HotAfter has the worker of queue i look for requests when that queue has had none for the time idle, and tells whether
// it will look at it again.
func (d *Device) HotAfter(i int, idle time.Duration) (hot bool) {
	q := d.queues[i]
	q.w.do(func() {
		q.w.heat(q)
		q.quiet = false
		q.busy = q.w.now - idle
		q.w.fetch()
		hot = q.hot
	})
	return hot
}

// PromptMax is the largest request that a worker copies itself.
const PromptMax = promptMax

// MemGrain is the unit in which a Mem remembers what was written.
const MemGrain = memGrain

// Move takes queue i to a worker as the balancer does, and tells whether it is there now.
func (d *Device) Move(i, worker int) bool {
	return d.MoveUntil(time.After(movePatience), i, worker)
}

// MoveUntil is Move with another patience for what is in flight.
func (d *Device) MoveUntil(patience <-chan time.Time, i, worker int) bool {
	d.mu.Lock()
	q := d.queue(i)
	d.mu.Unlock()
	return q != nil && d.pool.move(q, d.pool.workers[worker], patience)
}

// Moving tells whether queue i is on its way: it fetches nothing.
func (d *Device) Moving(i int) (moving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queue(i); q != nil {
		q.w.do(func() { moving = q.moving })
	}
	return moving
}

// WorkerOf is where queue i is served, -1: nowhere.
func (d *Device) WorkerOf(i int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queue(i); q != nil {
		return int(q.w.id)
	}
	return -1
}

// WorkersQueues is how many queues each worker serves, and how many devices have queues there.
func (p *Pool) WorkersQueues() (queues, devices []int) {
	for _, w := range p.workers {
		w.do(func() { queues, devices = append(queues, len(w.queues)), append(devices, w.devices) })
	}
	return queues, devices
}

// MaxRetries is how often an operation is tried again.
const MaxRetries = maxRetries

// MovePatience is how long a move of the balancer's waits for what is in flight.
const MovePatience = movePatience

// LoadOf describes a worker to ChooseMove: its load, and how many requests each of its queues has completed.
type LoadOf struct {
	Load      float64
	Completed []uint64
}

// ChooseMove is what the balancer decides: the queue'th of worker from moves to worker to.
func ChooseMove(workers []LoadOf) (from, queueIndex, to int, found bool) {
	loads := make([]workerLoad, len(workers))
	for i, l := range workers {
		loads[i] = workerLoad{w: &worker{id: int32(i)}, load: l.Load}
		for n, c := range l.Completed {
			loads[i].queues = append(loads[i].queues, queueLoad{&queue{index: n}, c})
			loads[i].all += c
		}
	}
	m, found := chooseMove(loads)
	if !found {
		return 0, 0, 0, false
	}
	return int(m.from.id), m.queue.index, int(m.to.id), true
}

// Loads is how busy each worker was when it last looked; 0: not lately.
func (p *Pool) Loads() (loads []float64) {
	for _, w := range p.workers {
		loads = append(loads, w.meter.recent(time.Since(p.start)))
	}
	return loads
}

// BusyLoad is from which load on a worker has too much to do.
const BusyLoad = busyLoad

// BucketOf is where a histogram counts a value.
func BucketOf(v uint64) int { return bucketOf(v) }

// Record counts n values of d.
func (h *Histogram) Record(d time.Duration, n uint64) { h.record(d, n) }
