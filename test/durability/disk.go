package durability

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
)

const sectorSize = blk.SectorSize

// clock orders what the driver sees and what the Disk does.
type clock struct{ now atomic.Uint64 }

func (c *clock) tick() uint64 { return c.now.Add(1) }

// content is what a sector holds: the number of the write that it came from, repeated.
type content uint64

const (
	zeroed    content = 0
	discarded content = 1 << 63 // the Disk's choice of what a discarded sector reads as
	garbage   content = 1 << 62 // nobody wrote that
)

// fill has p hold c in each of its sectors.
func (c content) fill(p []byte) {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(c))
	}
}

// contentOf reads a sector back; garbage when it is torn inside.
func contentOf(p []byte) content {
	c := binary.LittleEndian.Uint64(p)
	for i := 8; i < sectorSize; i += 8 {
		if binary.LittleEndian.Uint64(p[i:]) != c {
			return garbage
		}
	}
	return content(c)
}

type eventKind uint8

const (
	eventRead eventKind = iota
	eventWrite
	eventZero
	eventDiscard
	eventFlush
)

func (k eventKind) String() string {
	return [...]string{"read", "write", "zero", "discard", "flush"}[k]
}

// event is one call of the Disk.
type event struct {
	kind       eventKind
	begin, end uint64 // ticks; end 0: it never returned
	first      int    // sector
	sectors    int
	put        []content // what reached the cache, from first on
	failed     bool
	stable     uint64 // tick from which on no cut loses it; 0: never
}

func (e *event) modifies() bool {
	return e.kind == eventWrite || e.kind == eventZero || e.kind == eventDiscard
}

// flaw is what a Disk does wrong, for tests that must find it.
type flaw uint8

const (
	flawless      flaw = iota
	forgetsOne         // a flush leaves one write behind
	answersEarly       // a flush returns before it is done: when the next one ends, it is
	forgetsZeroes      // a flush covers writes only
	shortWrites        // a write stores all but its last sector and says nothing
)

// fault makes one call fail. The zero value does not.
type fault struct {
	err  error
	call int  // index among the calls that have it
	part bool // half of the sectors are stored all the same
}

// disk is a blk.FuncDisk with a volatile cache. Each call waits until release lets it go.
type disk struct {
	clock *clock
	flaw  flaw
	fault fault

	mu     sync.Mutex
	cache  []content
	events []*event // in order of their beginnings
	dirty  []*event // returned and not stable
	late   []*event // answersEarly: of the flush before
	held   []*call
	free   bool // nothing waits any more
}

// call is one that waits.
type call struct {
	event *event
	index int
	read  []byte
	done  chan error
}

func newDisk(c *clock, sectors int) *disk { return &disk{clock: c, cache: make([]content, sectors)} }

// Info describes the Disk.
func (d *disk) Info() blk.DiskInfo {
	return blk.DiskInfo{
		Name: "volatile", Size: int64(len(d.cache)) * sectorSize, VolatileCache: true,
		DiscardGranularity: sectorSize,
	}
}

// Close does nothing.
func (d *disk) Close() error { return nil }

// ReadAt reads from the cache.
func (d *disk) ReadAt(ctx context.Context, p []byte, off int64) error {
	return d.wait(ctx, newEvent(eventRead, off, int64(len(p))), p)
}

// WriteAt writes into the cache.
func (d *disk) WriteAt(ctx context.Context, p []byte, off int64) error {
	e := newEvent(eventWrite, off, int64(len(p)))
	for i := range e.put {
		e.put[i] = contentOf(p[i*sectorSize:])
	}
	return d.wait(ctx, e, nil)
}

// Zero zeroes or discards in the cache.
func (d *disk) Zero(ctx context.Context, off, n int64, discard bool) error {
	e := newEvent(eventZero, off, n)
	if discard {
		e.kind = eventDiscard
		for i := range e.put {
			e.put[i] = discarded
		}
	}
	return d.wait(ctx, e, nil)
}

// Flush makes stable what had returned when it was called.
func (d *disk) Flush(ctx context.Context) error {
	return d.wait(ctx, newEvent(eventFlush, 0, 0), nil)
}

func newEvent(kind eventKind, off, n int64) *event {
	sectors := int(n / sectorSize)
	return &event{kind: kind, first: int(off / sectorSize), sectors: sectors, put: make([]content, sectors)}
}

func (d *disk) wait(ctx context.Context, e *event, read []byte) error {
	c := &call{event: e, read: read, done: make(chan error, 1)}
	d.mu.Lock()
	e.begin = d.clock.tick()
	c.index = len(d.events)
	d.events = append(d.events, e)
	if d.free {
		d.finish(c)
	} else {
		d.held = append(d.held, c)
	}
	d.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release lets one of the calls that wait go, and returns whether there was one.
func (d *disk) release(rnd *rand.Rand) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.held) == 0 {
		return false
	}
	i := rnd.IntN(len(d.held))
	c := d.held[i]
	d.held = append(d.held[:i], d.held[i+1:]...)
	d.finish(c)
	return true
}

// releaseAll lets all calls go, later ones too: the run has failed, or is over.
func (d *disk) releaseAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = true
	for _, c := range d.held {
		d.finish(c)
	}
	d.held = nil
}

func (d *disk) finish(c *call) {
	e := c.event
	e.failed = d.fault.err != nil && d.fault.call == c.index
	e.end = d.clock.tick()
	switch e.kind {
	case eventFlush:
		d.finishFlush(e)
	case eventRead:
		d.finishRead(e, c.read)
	default:
		d.finishModify(e)
	}
	if e.failed {
		c.done <- errors.Wrapf(d.fault.err, "%v, call %d", e.kind, c.index)
		return
	}
	c.done <- nil
}

func (d *disk) finishRead(e *event, p []byte) {
	for i := range e.sectors {
		c := d.cache[e.first+i]
		if e.failed {
			c = garbage
		}
		c.fill(p[i*sectorSize : (i+1)*sectorSize])
	}
}

func (d *disk) finishModify(e *event) {
	switch {
	case e.failed && d.fault.part:
		e.put = e.put[:len(e.put)/2]
	case e.failed:
		e.put = nil
	case d.flaw == shortWrites && e.kind == eventWrite:
		e.put = e.put[:len(e.put)-1]
	}
	copy(d.cache[e.first:], e.put)
	d.dirty = append(d.dirty, e)
}

// finishFlush makes stable what had returned before the flush began. When it fails that is lost for all time, though
// reads go on finding it: a page cache does the same with pages that it could not write back.
func (d *disk) finishFlush(f *event) {
	var covered, rest []*event
	for _, e := range d.dirty {
		switch {
		case e.end > f.begin, d.flaw == forgetsZeroes && e.kind != eventWrite:
			rest = append(rest, e)
		default:
			covered = append(covered, e)
		}
	}
	d.dirty = rest
	if f.failed {
		return
	}
	if d.flaw == forgetsOne && len(covered) > 0 {
		covered = covered[1:]
	}
	if d.flaw == answersEarly {
		covered, d.late = d.late, covered
	}
	for _, e := range covered {
		e.stable = f.end
	}
}
