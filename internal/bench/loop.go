package bench

import (
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/virtiotest"
)

// loop drives one queue.
type loop struct {
	queue  int
	config *Config
	driver *virtiotest.Driver
	slots  []slot
	byID   []uint16 // slot of a chain in flight
	gen    generator
	stop   *atomic.Bool // of the run: somebody gave up
	self   *echo        // the device that answers, when there is no other
	gauge  *gauge       // the first queue's; nil in the others

	latency *hdrhistogram.Histogram
	count   counters
	elapsed time.Duration // of the measured part
	flying  int
	added   int // requests that the device does not see yet

	begin time.Time
	now   time.Duration // since begin, read once a turn
	heard time.Duration // when the last completion came
	asked time.Duration // when the connection was looked at
}

// counters are of the measured part.
type counters struct {
	done, flushes, kicks, sleeps uint64
}

// clockEvery is how many looks in vain a polling loop takes between two readings of the clock.
const clockEvery = 64

// reapAtOnce is how many completions are taken between two readings of the clock, when Config.Batch is not larger.
const reapAtOnce = 8

func newLoop(c *Config, queue int, d *virtiotest.Driver, gen generator, stop *atomic.Bool) (*loop, error) {
	l := &loop{
		queue: queue, config: c, driver: d, gen: gen, stop: stop,
		slots: make([]slot, c.Depth), byID: make([]uint16, d.Size()), latency: newHistogram(),
	}
	if c.self {
		l.self = newEcho(d, c.Packed)
	}
	for i := range l.slots {
		var err error
		if l.slots[i], err = newSlot(d.Memory(), c.BlockSize, c.Indirect); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// run is the loop's life on its thread: warm up, measure, drain.
func (l *loop) run() error {
	g := l.gauge
	if g == nil {
		g = new(gauge)
	}
	if err := l.warmUp(g); err != nil {
		return err
	}
	l.latency.Reset()
	l.count = counters{}
	from := l.tick()
	if err := g.begin(); err != nil {
		return err
	}
	if err := l.until(from + l.config.Duration); err != nil {
		return err
	}
	// On a machine that is busy with others no request need have been done in a short time, and none is no measurement.
	for l.count.done == 0 {
		if err := l.turn(true); err != nil {
			return err
		}
	}
	if err := g.end(); err != nil {
		return err
	}
	l.elapsed = l.tick() - from
	if err := l.drain(); err != nil {
		return err
	}
	return g.close()
}

// warmUp makes the first requests and keeps the depth for a while. The gauge gets ready when nothing or not yet what
// counts is in flight.
func (l *loop) warmUp(g *gauge) error {
	long := l.config.Warmup > settle
	if !long {
		if err := g.ready(); err != nil {
			return err
		}
	}
	l.begin = time.Now()
	l.driver.DisableCalls()
	for i := range l.slots {
		if err := l.issue(uint16(i)); err != nil {
			return err
		}
	}
	if err := l.publish(); err != nil {
		return err
	}
	if long {
		if err := l.until(l.config.Warmup - settle); err != nil {
			return err
		}
		if err := g.ready(); err != nil {
			return err
		}
	}
	return l.until(l.config.Warmup)
}

// drain waits for what is in flight. It is not measured.
func (l *loop) drain() error {
	measured, latency := l.count, l.latency
	l.latency = newHistogram()
	defer func() { l.count, l.latency = measured, latency }()
	for l.flying > 0 {
		if err := l.turn(false); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) tick() time.Duration {
	l.now = time.Since(l.begin)
	return l.now
}

// until keeps the depth until the clock says so.
func (l *loop) until(end time.Duration) error {
	for l.now < end {
		if err := l.turn(true); err != nil {
			return err
		}
	}
	return nil
}

// turn waits for completions, takes a batch of those that there are, and refills.
func (l *loop) turn(refill bool) error {
	c, ok, err := l.driver.Reap()
	if err == nil && !ok {
		c, ok, err = l.wait()
	}
	if ok {
		l.heard = l.tick()
	}
	most := max(l.config.Batch, reapAtOnce)
	for n := 1; ok && err == nil; n++ {
		if err = l.complete(c, refill); err != nil {
			return err
		}
		if n == most {
			break
		}
		c, ok, err = l.driver.Reap()
	}
	if err != nil {
		return err
	}
	return l.publish()
}

// complete checks and counts one completion and gives its slot the next request.
func (l *loop) complete(c virtiotest.Completion, refill bool) error {
	at := l.byID[c.ID]
	s := &l.slots[at]
	if status := s.status(); status != 0 {
		return errors.Errorf("%s at sector %d: status %d", kindNames[s.kind], s.sector(), status)
	}
	if err := l.latency.RecordValue(int64(max(l.now-s.issued, latencyMin))); err != nil {
		return errors.Wrap(err, "record a latency")
	}
	l.flying--
	l.count.done++
	if s.kind == kindFlush {
		l.count.flushes++
	}
	if !refill {
		return nil
	}
	return l.issue(at)
}

var kindNames = [kinds]string{kindRead: "read", kindWrite: "write", kindFlush: "flush"}

// issue makes the slot's next request. The device sees it with its batch.
func (l *loop) issue(at uint16) error {
	s := &l.slots[at]
	id, err := l.driver.AddRequest(s.prepare(l.gen.draw()))
	if err != nil {
		return err
	}
	s.issued = l.now
	l.byID[id] = at
	l.flying++
	if l.added++; l.added == l.config.Batch {
		return l.publish()
	}
	return nil
}

func (l *loop) publish() error {
	if l.added == 0 {
		return nil
	}
	l.added = 0
	kicked, err := l.driver.Publish()
	if kicked {
		l.count.kicks++
	}
	return err
}
