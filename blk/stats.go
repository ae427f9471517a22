package blk

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

// queueCounters are what a queue's worker counts. Nobody else reads them while the queue runs, but through the worker.
type queueCounters struct {
	ops           [opCount]opCounter
	kicks, calls  uint64
	bounced       uint64 // requests that could not go straight into guest memory
	flushesMerged uint64 // found everything stable already
	malformed     uint64 // chains that nobody can be told about
	barriers      uint64 // requests with the legacy barrier flag
	completed     uint64 // requests that the driver was told of
	errors        uint64 // answered IOERR
	unsupported   uint64 // answered UNSUPP
	broken        bool
}

type opCounter struct {
	requests, bytes uint64
}

func (c *opCounter) add(bytes uint64) {
	c.requests++
	c.bytes += bytes
}

func (c *queueCounters) failed(status byte) {
	if status == statusUnsupp {
		c.unsupported++
		return
	}
	c.errors++
}

// OpStats counts one kind of request.
type OpStats struct {
	Requests uint64
	Bytes    uint64 // asked for; of a discard or write-zeroes request the sum of its segments
}

// Stats is what a device has counted since it was made.
type Stats struct {
	Read, Write, Flush, Discard, WriteZeroes, Other OpStats

	Kicks         uint64 // wake-ups by the driver
	Calls         uint64 // interrupts sent to it
	Bounced       uint64 // requests that could not go straight into guest memory
	FlushesMerged uint64 // flushes that found everything stable already
	Fdatasyncs    uint64 // that flushes became
	Malformed     uint64 // chains without room for a header or a status
	Barriers      uint64 // requests with the legacy barrier flag, negotiated or not
	IOErrors      uint64 // requests answered IOERR, the driver's own mistakes included
	Unsupported   uint64 // requests answered UNSUPP
	BrokenQueues  uint64 // queues that were broken
}

func (s *Stats) add(c *queueCounters) {
	for op, to := range []*OpStats{&s.Read, &s.Write, &s.Flush, &s.Discard, &s.WriteZeroes, &s.Other} {
		to.Requests += c.ops[op].requests
		to.Bytes += c.ops[op].bytes
	}
	s.Kicks += c.kicks
	s.Calls += c.calls
	s.Bounced += c.bounced
	s.FlushesMerged += c.flushesMerged
	s.Malformed += c.malformed
	s.Barriers += c.barriers
	s.IOErrors += c.errors
	s.Unsupported += c.unsupported
	if c.broken {
		s.BrokenQueues++
	}
}

// Completed is how many requests the queues that run have completed since they started. Any goroutine may call it.
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

// Stats returns what the device has counted. Any goroutine may call it.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.retired
	for _, q := range d.queues {
		if q != nil {
			q.w.do(func() { s.add(&q.count) })
		}
	}
	s.Fdatasyncs = d.flush.syncs.Load()
	return s
}
