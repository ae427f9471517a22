package replay

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	featureFlush = driver.FeatureFlush
	featureWCE   = driver.FeatureWCE

	sectorSize  = driver.SectorSize
	ownSectors  = 64 // of each queue
	maxSectors  = 8  // of one write
	maxQueues   = 4
	loadSectors = ownSectors * maxQueues
	loadSize    = loadSectors * sectorSize
)

// promise is what the disk has to hold, because a request was answered OK.
type promise struct {
	entries uint64   // of the log, read after the answer
	first   int      // sector
	floor   []uint64 // the number of the last write that must be there, by sector
}

// load is a front-end that writes numbered sectors. Each of its queues has sectors of its own and makes one request at a
// time, so writes never meet, and a sector's numbers grow in the order of the log.
type load struct {
	record  *recorder
	through bool // each write is promised when it is answered
	flushes bool // FLUSH is sent
	off     bool // the driver sets writeback to 0
	packed  bool // rings
	want    int64
	seed    uint64

	ledger *driver.Ledger
	made   atomic.Int64 // promises
	grown  atomic.Int64 // of these: with a log that has grown since the one before
	writes atomic.Int64

	mu       sync.Mutex
	last     uint64
	promises []promise
}

// run connects and works until enough is promised.
func (l *load) run(t *testing.T, socket string, queues int, decline virtio.Features) {
	t.Helper()
	f, err := vhostusertest.Connect(socket, vhostusertest.Options{
		Queues: queues, QueueSize: 16, Packed: l.packed, Decline: decline, Memory: []guestmem.RegionInfo{virtiotest.RAM(4 * mib)},
	})
	must(t, err)
	defer func() { must(t, f.Close()) }()
	l.flushes = f.Features().Has(featureFlush)
	l.through = !l.flushes
	must(t, f.Start())
	if l.off {
		must(t, f.SetConfig(driver.ConfigWriteback, []byte{0}))
	}
	if f.Features().Has(featureWCE) { // then the field decides (virtio-v1.3 5.2.6.2)
		b, err := f.Config(driver.ConfigWriteback, 1)
		must(t, err)
		l.through = b[0] == 0
	}
	l.ledger = driver.NewLedger(loadSectors)
	failed := make([]error, queues)
	var writers sync.WaitGroup
	for i := range queues {
		q, err := driver.New(f.Queue(i), driver.Options{Room: maxSectors * sectorSize})
		must(t, err)
		writers.Go(func() { failed[i] = l.writer(q, i) })
	}
	writers.Wait()
	for i, err := range failed {
		must(t, errors.Wrapf(err, "queue %d", i))
	}
}

// writer writes its sectors and flushes now and then. When the log does not grow it gives up: a back-end that never
// flushes is not waited for.
func (l *load) writer(q *driver.Queue, id int) error {
	r := rand.New(rand.NewPCG(l.seed, uint64(id)))
	for l.grown.Load() < l.want && l.made.Load() < 4*l.want {
		n := 1 + r.IntN(maxSectors)
		if err := l.write(q, id*ownSectors+r.IntN(ownSectors-n+1), n); err != nil {
			return err
		}
		if l.flushes && r.IntN(4) == 0 {
			if err := l.flush(q); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *load) write(q *driver.Queue, sector, n int) error {
	r := driver.Request{Kind: blk.RequestOut, Sector: uint64(sector), Size: n * sectorSize}
	l.ledger.Issue(sector, q.Data(0, r))
	if err := q.Do(r); err != nil {
		return err
	}
	l.writes.Add(1)
	l.ledger.Ack(sector, n)
	if l.through {
		return l.promise(sector, l.ledger.Acked(nil, sector, n))
	}
	return nil
}

// flush flushes what has completed on all queues.
func (l *load) flush(q *driver.Queue) error {
	floor := l.ledger.Acked(nil, 0, loadSectors)
	if err := q.Do(driver.Request{Kind: blk.RequestFlush}); err != nil {
		return err
	}
	return l.promise(0, floor)
}

// promise notes what was promised just now.
func (l *load) promise(first int, floor []uint64) error {
	n, err := l.record.entries()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promises = append(l.promises, promise{entries: n, first: first, floor: floor})
	l.made.Add(1)
	if n > l.last {
		l.last = n
		l.grown.Add(1)
	}
	return nil
}

// verdict is what a replay tells.
type verdict struct {
	points  int // flush points
	broken  int // promises of which something was missing
	sectors int // that were missing, all promises together
}

// judge replays the log of a load that has ended.
func (l *load) judge(path string) (verdict, error) {
	slices.SortStableFunc(l.promises, func(a, b promise) int { return int(int64(a.entries) - int64(b.entries)) })
	var v verdict
	left, held := l.promises, make([]uint64, loadSectors)
	keep := func(until uint64, disk []byte) error {
		for len(left) > 0 && left[0].entries < until {
			missing := left[0].missing(disk)
			if missing > 0 {
				v.broken++
			}
			v.sectors += missing
			left = left[1:]
		}
		return nil
	}
	disk := make([]byte, loadSize)
	_, err := replay(path, disk, observer{before: keep, point: func(p point) error {
		v.points = p.number
		return l.plausible(p.disk, held)
	}})
	if err == nil {
		err = keep(1<<63, disk)
	}
	return v, err
}

// missing counts the sectors that do not hold what they must.
func (p promise) missing(disk []byte) (n int) {
	for i, floor := range p.floor {
		if driver.NumberIn(disk[(p.first+i)*sectorSize:]) < floor {
			n++
		}
	}
	return n
}

// plausible demands that each sector holds a write that was made, whole, and none older than at the point before.
func (l *load) plausible(disk []byte, held []uint64) error {
	for i := range held {
		number, err := l.ledger.Number(i, disk[i*sectorSize:])
		if err == nil && number < held[i] {
			err = errors.Errorf("sector %d holds write %d, and held %d already", i, number, held[i])
		}
		if err != nil {
			return err
		}
		held[i] = number
	}
	return nil
}
