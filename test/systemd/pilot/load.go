package main

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

const (
	queues     = 2
	depth      = 8
	ownSectors = 2048 // of each queue, which alone writes them
	maxSize    = 32 << 10
	nap        = 20 * time.Millisecond
)

// load keeps all queues busy. Each has a goroutine of its own.
type load struct {
	ledger  *driver.Ledger
	loaders []*loader
	pausing atomic.Bool

	requests, flushes atomic.Int64
	last, longest     atomic.Int64 // ns: when the last completion was, the longest time between two
}

// loader has one queue.
type loader struct {
	*load
	queue *driver.Queue
	first int // sector
	r     *rand.Rand
	slots [depth]flight
}

// flight is what is known of the request in a slot.
type flight struct {
	begun time.Time
	low   []uint64 // what a read must see at least
}

func newLoad(f *vhostusertest.Frontend) (*load, error) {
	l := &load{ledger: driver.NewLedger(queues * ownSectors)}
	for i := range queues {
		q, err := driver.New(f.Queue(i), driver.Options{Depth: depth, Room: maxSize})
		if err != nil {
			return nil, err
		}
		l.loaders = append(l.loaders, &loader{load: l, queue: q, first: i * ownSectors, r: rand.New(rand.NewPCG(1, uint64(i)))})
	}
	return l, nil
}

// fill writes everything once: what was on the disk before is nobody's business.
func (l *load) fill() error {
	q := l.loaders[0].queue
	for first := 0; first < l.ledger.Sectors(); first += maxSize / driver.SectorSize {
		r := driver.Request{Kind: blk.RequestOut, Sector: uint64(first), Size: maxSize}
		l.ledger.Issue(first, q.Data(0, r))
		if err := q.Do(r); err != nil {
			return err
		}
		l.ledger.Ack(first, maxSize/driver.SectorSize)
	}
	return nil
}

// begin starts to work. The channel gets nil when all have paused, or what was wrong first.
func (l *load) begin() <-chan error {
	l.last.Store(time.Now().UnixNano())
	failed, all := make(chan error, len(l.loaders)), make(chan error, 1)
	for _, w := range l.loaders {
		go func() { failed <- w.run() }()
	}
	go func() {
		for range l.loaders {
			if err := <-failed; err != nil {
				all <- err
				return
			}
		}
		all <- nil
	}()
	return all
}

// report tells of the time since the last report. A pause that has begun before it counts from its beginning.
func (l *load) report() string {
	l.gap(time.Now().UnixNano() - l.last.Load())
	return fmt.Sprintf("requests=%d flushes=%d longest=%v", l.requests.Swap(0), l.flushes.Swap(0), time.Duration(l.longest.Swap(0)))
}

// gap notes a time without a completion.
func (l *load) gap(gap int64) {
	for {
		longest := l.longest.Load()
		if gap <= longest || l.longest.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// verify reads everything. Nothing is in flight.
func (l *load) verify() error {
	const n = maxSize / driver.SectorSize
	q := l.loaders[0].queue
	for first := 0; first < l.ledger.Sectors(); first += n {
		r := driver.Request{Kind: blk.RequestIn, Sector: uint64(first), Size: maxSize}
		low := l.ledger.Acked(nil, first, n)
		if err := q.Do(r); err != nil {
			return err
		}
		if err := l.ledger.Check(first, q.Data(0, r), low); err != nil {
			return err
		}
	}
	fmt.Println("verified", l.ledger.Sectors(), "sectors")
	return nil
}

// run makes requests until it is to pause, and returns when all have ended.
func (w *loader) run() error {
	for {
		pausing := w.pausing.Load()
		if !pausing {
			if err := w.issue(); err != nil {
				return err
			}
		}
		slot, ok, err := w.queue.Next(nap)
		switch {
		case err != nil:
			return err
		case ok:
			if err := w.completed(slot); err != nil {
				return err
			}
		case pausing && w.queue.Ring().Outstanding() == 0:
			return nil
		default:
			if err := w.overdue(); err != nil {
				return err
			}
		}
	}
}

func (w *loader) overdue() error {
	for i, f := range w.slots {
		if age := time.Since(f.begun); w.queue.Flying(i) && age > limit {
			return errors.Errorf("%v: made %v ago", w.queue.Request(i), age)
		}
	}
	return nil
}

// issue fills the free slots.
func (w *loader) issue() error {
	for i := range w.slots {
		if w.queue.Flying(i) {
			continue
		}
		r, ok := w.next()
		if !ok {
			continue
		}
		f, first, n := &w.slots[i], int(r.Sector), r.Size/driver.SectorSize
		f.begun = time.Now()
		switch r.Kind {
		case blk.RequestIn:
			f.low = w.ledger.Acked(f.low, first, n)
		case blk.RequestOut:
			w.ledger.Issue(first, w.queue.Data(i, r))
		}
		if err := w.queue.Add(i, r); err != nil {
			return err
		}
	}
	return w.queue.Publish()
}

// next makes up a request; false: it would write what is being written.
func (w *loader) next() (driver.Request, bool) {
	n := 1 + w.r.IntN(maxSize/driver.SectorSize)
	r := driver.Request{Kind: blk.RequestOut, Sector: uint64(w.first + w.r.IntN(ownSectors-n+1)), Size: n * driver.SectorSize}
	switch k := w.r.IntN(100); {
	case k < 10:
		return driver.Request{Kind: blk.RequestFlush}, true
	case k < 45:
		r.Kind, r.Sector = blk.RequestIn, uint64(w.r.IntN(w.ledger.Sectors()-n+1))
		return r, true
	}
	for i := range w.slots {
		o := w.queue.Request(i)
		if w.queue.Flying(i) && o.Kind == blk.RequestOut &&
			r.Sector < o.Sector+uint64(o.Size/driver.SectorSize) && o.Sector < r.Sector+uint64(n) {
			return r, false
		}
	}
	return r, true
}

// completed keeps the account of a request that has ended well.
func (w *loader) completed(slot int) error {
	r := w.queue.Request(slot)
	first, n := int(r.Sector), r.Size/driver.SectorSize
	now := time.Now().UnixNano()
	w.gap(now - w.last.Swap(now))
	w.requests.Add(1)
	switch r.Kind {
	case blk.RequestIn:
		return errors.Wrap(w.ledger.Check(first, w.queue.Data(slot, r), w.slots[slot].low), r.String())
	case blk.RequestOut:
		w.ledger.Ack(first, n)
	case blk.RequestFlush:
		w.flushes.Add(1)
	}
	return nil
}
