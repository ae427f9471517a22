package crash

import (
	"math/rand/v2"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	ownSectors = 4096 // of each queue, which alone modifies them
	maxSize    = 256 << 10
	maxShift   = 512

	nap = 20 * time.Millisecond // without a look at the flags
)

// errStuck tells of a request that does not end in time.
var errStuck = errors.New("does not end")

// errTwice tells of a completion that answers nothing: it comes a second time.
var errTwice = errors.New("a completion that nothing was asked for")

// loader keeps the slots of one queue busy. It belongs to one goroutine.
type loader struct {
	life  *life
	queue *driver.Queue
	id    int
	r     *rand.Rand
	epoch int64 // kills that are known to have happened
	slots []flight

	features virtio.Features // as at the guest's beginning: the front-end negotiates again meanwhile
}

// flight is what is known of the request in a slot.
type flight struct {
	begun time.Time
	low   []uint64 // what a read must see at least
}

func newLoader(l *life, id, depth int) (*loader, error) {
	q, err := driver.New(l.front.Queue(id), driver.Options{Depth: depth, Room: maxShift + maxSize})
	if err != nil {
		return nil, err
	}
	w := &loader{
		life: l, queue: q, id: id, r: rand.New(rand.NewPCG(l.seed, uint64(id))), slots: make([]flight, depth),
		features: l.front.Features(),
	}
	for i := range w.slots {
		w.slots[i].low = make([]uint64, 0, maxSize/driver.SectorSize)
	}
	return w, nil
}

// run makes requests until it is told to pause, and returns when all have ended.
func (w *loader) run() error {
	for {
		pausing := w.life.pausing.Load()
		if !pausing {
			if err := w.issue(); err != nil {
				return err
			}
		}
		n, err := w.reap()
		switch {
		case err != nil || w.life.broken.Load():
			return err
		case n > 0:
			continue
		case pausing && w.queue.Ring().Outstanding() == 0:
			return nil
		}
		if err := w.settle(); err != nil {
			return err
		}
		if w.queue.Ring().EnableCalls() {
			continue
		}
		if _, err := w.queue.Ring().WaitCall(nap); err != nil {
			return err
		}
		w.queue.Ring().DisableCalls()
	}
}

// overdue counts the requests that should have ended long ago.
func (w *loader) overdue() (n int) {
	for i, f := range w.slots {
		if w.queue.Flying(i) && w.life.turned.Since(f.begun) > w.life.limit*3/4 {
			n++
		}
	}
	return n
}

// settle looks at how long requests have waited, and takes note of a kill: what completes from now on was done by the
// successor, because nothing that the dead one had completed is left on the ring.
func (w *loader) settle() error {
	for i := range w.slots {
		begun := w.slots[i].begun
		if w.queue.Flying(i) && w.life.turned.Since(begun) > w.life.limit {
			return errors.Wrapf(errStuck, "%v, made %v ago, with %d in flight", w.queue.Request(i), time.Since(begun), w.queue.Ring().Outstanding())
		}
	}
	if epoch := w.life.epoch.Load(); epoch != w.epoch {
		if _, err := w.reap(); err != nil {
			return err
		}
		w.epoch = epoch
		w.life.caught.Add(int64(w.queue.Ring().Outstanding()))
	}
	return nil
}

// issue fills some of the free slots and makes their requests available together.
func (w *loader) issue() error {
	for i := range w.slots {
		if w.queue.Flying(i) || w.r.IntN(3) == 0 {
			continue
		}
		r, ok := w.next()
		if !ok {
			continue
		}
		if err := w.add(i, r); errors.Is(err, virtiotest.ErrFull) {
			break
		} else if err != nil {
			return err
		}
	}
	return w.queue.Publish()
}

// add prepares the request's data and the account of it.
func (w *loader) add(slot int, r driver.Request) error {
	if w.queue.Ring().Free() < r.Parts+2 {
		return virtiotest.ErrFull
	}
	first, n := int(r.Sector), r.Size/driver.SectorSize
	f := &w.slots[slot]
	f.begun = time.Now()
	switch r.Kind {
	case blk.RequestIn:
		f.low = w.life.ledger.Acked(f.low, first, n)
		clear(w.queue.Data(slot, r))
	case blk.RequestOut:
		w.life.ledger.Issue(first, w.queue.Data(slot, r))
	case blk.RequestDiscard, blk.RequestWriteZeroes:
		w.life.ledger.IssueZeros(first, n)
	}
	return w.queue.Add(slot, r)
}

// next makes up a request; false: there is none without touching sectors that are being modified.
func (w *loader) next() (driver.Request, bool) {
	r := driver.Request{Kind: w.kind(), Parts: 1 + w.r.IntN(4), Indirect: w.r.IntN(2) == 0}
	if r.Kind == blk.RequestFlush {
		return r, true
	}
	n := 1 + w.r.IntN(1<<w.r.IntN(10)) // 512 B to 256 KiB, small ones more often
	r.Size = n * driver.SectorSize
	r.Unmap = r.Kind == blk.RequestWriteZeroes && w.r.IntN(2) == 0
	if w.r.IntN(8) == 0 {
		r.Shift = 8 * w.r.IntN(maxShift/8)
	}
	if r.Kind == blk.RequestIn {
		r.Sector = uint64(w.r.IntN(w.life.ledger.Sectors() - n + 1))
		return r, true
	}
	for range 4 {
		r.Sector = uint64(w.id*ownSectors + w.r.IntN(ownSectors-n+1))
		if !w.modifying(r) {
			return r, true
		}
	}
	return r, false
}

func (w *loader) kind() blk.RequestType {
	switch n := w.r.IntN(100); {
	case n < 45:
		return blk.RequestOut
	case n < 75:
		return blk.RequestIn
	case n < 85:
		return blk.RequestFlush
	case n < 93 && w.features.Has(blk.FeatureWriteZeroes):
		return blk.RequestWriteZeroes
	case n >= 93 && w.features.Has(blk.FeatureDiscard):
		return blk.RequestDiscard
	}
	return blk.RequestOut
}

// modifying tells whether a request overlaps one in flight that modifies.
func (w *loader) modifying(r driver.Request) bool {
	for i := range w.slots {
		o := w.queue.Request(i)
		if w.queue.Flying(i) && o.Kind != blk.RequestIn && o.Kind != blk.RequestFlush &&
			r.Sector < o.Sector+uint64(o.Size/driver.SectorSize) && o.Sector < r.Sector+uint64(r.Size/driver.SectorSize) {
			return true
		}
	}
	return false
}

// reap takes what has completed, and judges it.
func (w *loader) reap() (n int, err error) {
	for {
		slot, ok, err := w.queue.Reap()
		var status *driver.StatusError
		switch {
		case errors.As(err, &status) && status.Status != driver.StatusOpen:
			return n, err
		case err != nil:
			return n, errors.Wrapf(errTwice, "%v", err)
		case !ok:
			return n, nil
		}
		n++
		w.life.gaps.completed()
		w.life.served(w.epoch)
		if err := w.completed(slot); err != nil {
			return n, err
		}
	}
}

// completed keeps the account of a request that has ended well.
func (w *loader) completed(slot int) error {
	r := w.queue.Request(slot)
	first, n := int(r.Sector), r.Size/driver.SectorSize
	w.life.requests.Add(1)
	switch r.Kind {
	case blk.RequestIn:
		return errors.Wrapf(w.life.ledger.Check(first, w.queue.Data(slot, r), w.slots[slot].low), "%v", r)
	case blk.RequestOut, blk.RequestWriteZeroes:
		w.life.ledger.Ack(first, n)
	case blk.RequestFlush:
		w.life.flushes.Add(1)
	}
	return nil
}
