package fusedisk

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Counts is what has arrived at a Disk.
type Counts struct {
	Reads, Writes int
	DSyncWrites   int // of the writes: those that are marked O_DSYNC; see Options for the fsync that follows each
	Fsyncs        int // all of them, with those that follow a marked write
}

// Minus returns what has arrived since c was before.
func (c Counts) Minus(before Counts) Counts {
	return Counts{
		Reads: c.Reads - before.Reads, Writes: c.Writes - before.Writes,
		DSyncWrites: c.DSyncWrites - before.DSyncWrites, Fsyncs: c.Fsyncs - before.Fsyncs,
	}
}

// Disk is a file with a volatile cache.
type Disk struct {
	size  int64
	mount *mount

	mu     sync.Mutex
	cache  *cache
	counts Counts
	delay  time.Duration
	off    bool // the power
	life   uint64
	fsync  *Hold
	write  *Hold
}

// Hold stops requests at a Disk from when it is set until Release.
type Hold struct {
	from, to uint64 // of a write
	once     sync.Once
	met      chan struct{}
	reached  sync.Once
	released chan struct{}
}

func newHold(from, to uint64) *Hold {
	return &Hold{from: from, to: to, met: make(chan struct{}), released: make(chan struct{})}
}

// Met is closed when a request is held.
func (h *Hold) Met() <-chan struct{} { return h.met }

// Release lets the requests go on. Called again it does nothing.
func (h *Hold) Release() {
	if h != nil {
		h.once.Do(func() { close(h.released) })
	}
}

// pass waits at h; at no hold it does not.
func (h *Hold) pass() {
	if h != nil {
		h.reached.Do(func() { close(h.met) })
		<-h.released
	}
}

// HoldFsyncs holds each fsync that arrives from now on.
func (d *Disk) HoldFsyncs() *Hold {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fsync = newHold(0, 0)
	return d.fsync
}

// HoldWrites holds each write that touches bytes from off on, n of them, before it has any effect.
func (d *Disk) HoldWrites(off, n uint64) *Hold {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write = newHold(off, off+n)
	return d.write
}

// Counts returns what has arrived so far.
func (d *Disk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// SetDelay is how long each fsync takes that arrives from now on.
func (d *Disk) SetDelay(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// Cut cuts the power: see cache.cut. Everything fails from now on until Restore, also what is under way.
func (d *Disk) Cut(luck float64, r *rand.Rand) (lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	d.life++
	return d.cache.cut(luck, r)
}

// Restore brings the power back.
func (d *Disk) Restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = false
}

// Content returns a copy of what can be read.
func (d *Disk) Content() []byte {
	b := make([]byte, d.size)
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(b, d.cache.latest)
	return b
}

// readAt returns false when the power is off.
func (d *Disk) readAt(b []byte, off uint64) (n int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Reads++
	if off > uint64(d.size) {
		return 0, !d.off
	}
	return copy(b, d.cache.latest[off:]), !d.off
}

// writeAt returns false when the power is off, or the write not one of whole sectors of this disk.
func (d *Disk) writeAt(b []byte, off uint64, dsync bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Writes++
	if dsync {
		d.counts.DSyncWrites++
	}
	end := off + uint64(len(b))
	if h := d.write; h != nil && off < h.to && end > h.from {
		d.mu.Unlock()
		h.pass()
		d.mu.Lock()
	}
	if d.off || off%SectorSize != 0 || len(b)%SectorSize != 0 || off > end || end > uint64(d.size) {
		return false
	}
	d.cache.write(b, off)
	return true
}

// sync makes stable what has arrived before. False: the power was cut meanwhile.
func (d *Disk) sync() bool {
	d.mu.Lock()
	d.counts.Fsyncs++
	arrived, life, delay, hold := d.cache.arrived, d.life, d.delay, d.fsync
	d.mu.Unlock()
	hold.pass()
	time.Sleep(delay)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off || d.life != life {
		return false
	}
	d.cache.sync(arrived)
	return true
}
