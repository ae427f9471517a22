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
		w.do(func() { n += w.first })
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
