package blk

// OpStats counts one kind of request: those that the driver was told of.
type OpStats struct {
	Requests    uint64
	Bytes       uint64 // asked for; of a discard or write-zeroes request the sum of its segments, if all are valid
	Errors      uint64 // answered IOERR, the driver's own mistakes included
	Unsupported uint64 // answered UNSUPP
	// Latency is the time from the beginning of the turn in which the worker fetched a request to when the driver was told.
	Latency Histogram
}

func (o *OpStats) add(other *OpStats) {
	o.Requests += other.Requests
	o.Bytes += other.Bytes
	o.Errors += other.Errors
	o.Unsupported += other.Unsupported
	o.Latency.Add(other.Latency)
}

// QueueStats is what a queue has counted since its device was made: it goes on where it was when the queue is stopped and
// started again, or moves.
type QueueStats struct {
	Index    int
	Worker   int  // that serves it; -1: it does not run
	InFlight int  // requests that were fetched and have not been answered
	Dead     bool // it is broken now: not served until its driver resets the device

	Read, Write, Flush, Discard, WriteZeroes OpStats
	Other                                    OpStats // GET_ID, and what is unknown

	Kicks         uint64 // wake-ups by the driver
	Calls         uint64 // interrupts sent to it
	Bounced       uint64 // requests that could not go straight into guest memory, or from there
	FlushesMerged uint64 // flushes that found everything stable already, or shared another one's fdatasync
	Malformed     uint64 // chains without room for a header or a status; they are in no other count
	Barriers      uint64 // requests with the legacy barrier flag, negotiated or not
	Broken        uint64 // times that the queue was broken
}

// Ops returns the counts of all kinds of request, in the order of the fields.
func (s *QueueStats) Ops() []*OpStats {
	return []*OpStats{&s.Read, &s.Write, &s.Flush, &s.Discard, &s.WriteZeroes, &s.Other}
}

// Requests is the sum over all kinds.
func (s *QueueStats) Requests() (n uint64) {
	for _, op := range s.Ops() {
		n += op.Requests
	}
	return n
}

// Errors is how many requests of all kinds were answered IOERR.
func (s *QueueStats) Errors() (n uint64) {
	for _, op := range s.Ops() {
		n += op.Errors
	}
	return n
}

// Unsupported is how many requests of all kinds were answered UNSUPP.
func (s *QueueStats) Unsupported() (n uint64) {
	for _, op := range s.Ops() {
		n += op.Unsupported
	}
	return n
}

func (s *QueueStats) add(other *QueueStats) {
	s.InFlight += other.InFlight
	to := s.Ops()
	for i, op := range other.Ops() {
		to[i].add(op)
	}
	s.Kicks += other.Kicks
	s.Calls += other.Calls
	s.Bounced += other.Bounced
	s.FlushesMerged += other.FlushesMerged
	s.Malformed += other.Malformed
	s.Barriers += other.Barriers
	s.Broken += other.Broken
}

// copyTo is run by the worker while the queue runs.
func (c *queueCounters) copyTo(s *QueueStats) {
	for i, op := range s.Ops() {
		*op = c.ops[i]
		op.Latency = c.ops[i].Latency.clone()
	}
	s.Kicks, s.Calls, s.Bounced, s.FlushesMerged = c.kicks, c.calls, c.bounced, c.flushesMerged
	s.Malformed, s.Barriers, s.Broken = c.malformed, c.barriers, c.broken
}

// Stats is what a device has counted since it was made. No count ever goes back.
type Stats struct {
	Total  QueueStats   // the sum of Queues; Worker is -1
	Queues []QueueStats // those that were ever started, in the order of their indices

	Fdatasyncs      uint64 // that ended well, those of write-through and of a session's end included
	FdatasyncErrors uint64 // that failed

	FlushFailed bool   // one has, and flushes fail until ClearFlushError
	Capacity    uint64 // that drivers see, bytes
}

// Stats returns what the device has counted, each queue's as it is between two turns of its worker. Any goroutine may call
// it, also after Close. It does not wait for I/O.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s Stats
	for i, c := range d.counts {
		if c == nil {
			continue
		}
		s.Queues = append(s.Queues, QueueStats{Index: i, Worker: -1})
		if d.queues[i] == nil {
			c.copyTo(&s.Queues[len(s.Queues)-1])
		}
	}
	for _, w := range d.pool.workers {
		d.readQueues(w, s.Queues)
	}
	s.Total.Worker = -1
	for i := range s.Queues {
		s.Total.add(&s.Queues[i])
	}
	s.Fdatasyncs, s.FdatasyncErrors, s.FlushFailed = d.flush.syncs.Load(), d.flush.syncErrors.Load(), d.flush.failed.Load()
	s.Capacity = d.capacity.Load() * SectorSize
	return s
}

// readQueues has a worker copy the counters of its queues of this device, all at once.
func (d *Device) readQueues(w *worker, all []QueueStats) {
	var mine []*QueueStats
	for i := range all {
		if q := d.queues[all[i].Index]; q != nil && q.w == w {
			mine = append(mine, &all[i])
		}
	}
	if len(mine) == 0 {
		return
	}
	w.do(func() {
		for _, s := range mine {
			q := d.queues[s.Index]
			q.count.copyTo(s)
			s.Worker, s.InFlight, s.Dead = int(w.id), q.inflight, q.broken
		}
	})
}

// counters are those of queue i, which it had when it ran before.
func (d *Device) counters(i int) *queueCounters {
	for len(d.counts) <= i {
		d.counts = append(d.counts, nil)
	}
	if d.counts[i] == nil {
		d.counts[i] = &queueCounters{}
	}
	return d.counts[i]
}

// Completed is how many requests of the queues that run have been completed since the device was made. Any goroutine may
// call it.
func (d *Device) Completed() (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		if q != nil {
			q.w.do(func() { n += q.count.completed })
		}
	}
	return n
}
