package replay

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	featureFlush virtio.Features = 1 << 9  // VIRTIO_BLK_F_FLUSH
	featureWCE   virtio.Features = 1 << 11 // VIRTIO_BLK_F_CONFIG_WCE

	configWriteback = 32 // offset of writeback in virtio_blk_config

	statusOK   = 0
	statusOpen = 0xff
	headerSize = 16

	sectorSize  = 512
	ownSectors  = 64 // of each queue
	maxSectors  = 8  // of one write
	maxQueues   = 4
	loadSectors = ownSectors * maxQueues
	loadSize    = loadSectors * sectorSize

	patience = 20 * time.Second
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

	issued, acked [loadSectors]atomic.Uint64
	made          atomic.Int64 // promises
	grown         atomic.Int64 // of these: with a log that has grown since the one before
	writes        atomic.Int64

	mu       sync.Mutex
	last     uint64
	promises []promise
}

// queue belongs to one goroutine.
type queue struct {
	driver *virtiotest.Driver
	cell   []byte // header, status
	data   []byte
	areas  [3]virtiotest.Area // header, data, status
}

func newQueue(t *testing.T, f *vhostusertest.Frontend, i int) *queue {
	t.Helper()
	const room = maxSectors * sectorSize
	cell, err := f.Memory().Alloc(headerSize+1, 32)
	must(t, err)
	data, err := f.Memory().Alloc(room, 4096)
	must(t, err)
	return &queue{
		driver: f.Queue(i), cell: f.Memory().Bytes(cell, headerSize+1), data: f.Memory().Bytes(data, room),
		areas: [3]virtiotest.Area{{GPA: cell, Len: headerSize}, {GPA: data}, {GPA: cell + headerSize, Len: 1}},
	}
}

// do writes n bytes, which are in q.data already, or makes a request without data, and waits for its end.
func (q *queue) do(kind blk.RequestType, sector uint64, n int) error {
	binary.LittleEndian.PutUint64(q.cell, uint64(kind))
	binary.LittleEndian.PutUint64(q.cell[8:], sector)
	q.cell[headerSize] = statusOpen
	q.areas[1].Len = uint32(n)
	r := virtiotest.Request{Readable: q.areas[:1], Writable: q.areas[2:]}
	if n > 0 {
		r.Readable = q.areas[:2]
	}
	if _, err := q.driver.Add(r); err != nil {
		return err
	}
	if _, err := q.driver.Publish(); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		switch _, ok, err := q.driver.Reap(); {
		case err != nil:
			return err
		case ok && q.cell[headerSize] != statusOK:
			return errors.Errorf("%v of %d bytes at sector %d: status %d", kind, n, sector, q.cell[headerSize])
		case ok:
			return nil
		}
		if q.driver.EnableCalls() {
			continue
		}
		if called, err := q.driver.WaitCall(time.Until(deadline)); err != nil || !called {
			return errors.Errorf("%v of %d bytes at sector %d does not end: %v", kind, n, sector, err)
		}
	}
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
		must(t, f.SetConfig(configWriteback, []byte{0}))
	}
	if f.Features().Has(featureWCE) { // then the field decides (virtio-v1.3 5.2.6.2)
		b, err := f.Config(configWriteback, 1)
		must(t, err)
		l.through = b[0] == 0
	}
	failed := make([]error, queues)
	var writers sync.WaitGroup
	for i := range queues {
		q := newQueue(t, f, i)
		writers.Go(func() { failed[i] = l.writer(q, i) })
	}
	writers.Wait()
	for i, err := range failed {
		must(t, errors.Wrapf(err, "queue %d", i))
	}
}

// writer writes its sectors and flushes now and then. When the log does not grow it gives up: a back-end that never
// flushes is not waited for.
func (l *load) writer(q *queue, id int) error {
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

func (l *load) write(q *queue, sector, n int) error {
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i] = l.issued[sector+i].Add(1)
		fill(q.data[i*sectorSize:(i+1)*sectorSize], uint64(sector+i), numbers[i])
	}
	if err := q.do(blk.RequestOut, uint64(sector), n*sectorSize); err != nil {
		return err
	}
	l.writes.Add(1)
	for i, number := range numbers {
		l.acked[sector+i].Store(number)
	}
	if l.through {
		return l.promise(sector, numbers)
	}
	return nil
}

// flush flushes what has completed on all queues.
func (l *load) flush(q *queue) error {
	floor := make([]uint64, loadSectors)
	for i := range floor {
		floor[i] = l.acked[i].Load()
	}
	if err := q.do(blk.RequestFlush, 0, 0); err != nil {
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
		if numberOf(disk, p.first+i) < floor {
			n++
		}
	}
	return n
}

// plausible demands that each sector holds a write that was made, whole, and none older than at the point before.
func (l *load) plausible(disk []byte, held []uint64) error {
	want := make([]byte, sectorSize)
	for i := range held {
		number := numberOf(disk, i)
		if clear(want); number > 0 {
			fill(want, uint64(i), number)
		}
		switch {
		case !slices.Equal(disk[i*sectorSize:(i+1)*sectorSize], want):
			return errors.Errorf("sector %d: garbage", i)
		case number > l.issued[i].Load():
			return errors.Errorf("sector %d holds write %d, which was never made", i, number)
		case number < held[i]:
			return errors.Errorf("sector %d holds write %d, and held %d already", i, number, held[i])
		}
		held[i] = number
	}
	return nil
}

// fill makes what the sector holds after so many writes.
func fill(b []byte, sector, number uint64) {
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], sector+1)
		binary.LittleEndian.PutUint64(b[i+8:], number)
	}
}

func numberOf(disk []byte, sector int) uint64 {
	return binary.LittleEndian.Uint64(disk[sector*sectorSize+8:])
}
