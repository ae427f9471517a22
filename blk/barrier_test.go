package blk_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// witness is a FuncDisk that checks what a barrier promises. Writes above half of it are the ones with a barrier.
type witness struct {
	goDisk
	see      sync.Mutex
	active   int
	unsynced bool // something was written since the last flush
	barriers int
	wrong    []string
}

func (d *witness) begin(barrier bool) {
	d.see.Lock()
	defer d.see.Unlock()
	d.active++
	if !barrier {
		return
	}
	d.barriers++
	if d.active != 1 {
		d.wrong = append(d.wrong, fmt.Sprintf("barrier %d runs beside %d others", d.barriers, d.active-1))
	}
	if d.unsynced {
		d.wrong = append(d.wrong, fmt.Sprintf("barrier %d runs before what it follows is stable", d.barriers))
	}
}

func (d *witness) end(wrote bool) {
	d.see.Lock()
	defer d.see.Unlock()
	d.active--
	d.unsynced = d.unsynced || wrote
}

func (d *witness) WriteAt(ctx context.Context, p []byte, off int64) error {
	barrier := off >= int64(len(d.data)/2)
	d.begin(barrier)
	defer d.end(true)
	if barrier {
		time.Sleep(time.Millisecond) // long enough for a follower to be seen
	}
	return d.goDisk.WriteAt(ctx, p, off)
}

func (d *witness) ReadAt(ctx context.Context, p []byte, off int64) error {
	d.begin(false)
	defer d.end(false)
	return d.goDisk.ReadAt(ctx, p, off)
}

func (d *witness) Flush(ctx context.Context) error {
	d.see.Lock()
	d.unsynced = false
	d.see.Unlock()
	return d.goDisk.Flush(ctx)
}

// TestBarriers runs reads, writes and barriers on several queues, many in flight.
func TestBarriers(t *testing.T) {
	for _, c := range []struct {
		name            string
		ring            virtio.Features
		queues, workers int
		moves           bool
	}{
		{"split/1x1", splitRing, 1, 1, false},
		{"packed/4x1", packedRing, 4, 1, false},
		{"split/4x3", splitRing, 4, 3, false},
		{"packed/4x2", packedRing, 4, 2, false},
		{"split/4x3, moving", splitRing, 4, 3, true},
		{"packed/4x2, moving", packedRing, 4, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &witness{goDisk: goDisk{data: make([]byte, mib)}}
			r := newRig(t, d, rigOptions{ring: c.ring, queues: c.queues, pool: blk.PoolOptions{Workers: c.workers, Slots: 64}})
			seed := rand.Uint64()
			t.Logf("seed %#x", seed)
			loads := make([]*barrierLoad, c.queues)
			for q := range loads {
				loads[q] = newBarrierLoad(r, q, rand.New(rand.NewPCG(seed, uint64(q))))
			}
			enough := func() bool { return true }
			if c.moves {
				m := startMover(t, r.dev, c.queues, c.workers)
				defer m.wantMoves(5)
				enough = func() bool { return m.moved.Load() >= 5 }
			}
			for again := true; again && !t.Failed(); again = !enough() {
				done := make(chan error, c.queues)
				for _, l := range loads {
					go func() { done <- l.run(300) }()
				}
				for range loads {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
			if d.barriers < 5 || len(d.wrong) > 0 {
				t.Errorf("%d barriers: %v", d.barriers, d.wrong)
			}
		})
	}
}

// barrierLoad is one queue's requests, up to 16 at a time.
type barrierLoad struct {
	r    *rig
	q    int
	rnd  *rand.Rand
	area guestmem.GPA
	free []int
	byID map[uint16]int
}

const barrierStride = 1024 // of a request's header, data and status

func newBarrierLoad(r *rig, q int, rnd *rand.Rand) *barrierLoad {
	l := &barrierLoad{r: r, q: q, rnd: rnd, area: r.alloc(16*barrierStride, 16), byID: map[uint16]int{}}
	for i := range 16 {
		l.free = append(l.free, i)
	}
	return l
}

func (l *barrierLoad) add() error {
	i := l.free[len(l.free)-1]
	at := l.area + guestmem.GPA(i*barrierStride)
	kind, sector := blk.RequestOut, uint64(l.rnd.IntN(1000))
	req := virtiotest.Request{Readable: []virtiotest.Area{{GPA: at, Len: 16}}}
	data := virtiotest.Area{GPA: at + 16, Len: 512}
	switch l.rnd.IntN(12) {
	case 0:
		kind, sector = blk.RequestOut|1<<31, sector+1024
		req.Readable = append(req.Readable, data)
	case 1, 2, 3:
		req.Readable = append(req.Readable, data)
	default:
		kind = blk.RequestIn
		req.Writable = append(req.Writable, data)
	}
	l.r.mem.Write(at, header(kind, sector))
	l.r.mem.Write(at+600, []byte{noStatus})
	req.Writable = append(req.Writable, virtiotest.Area{GPA: at + 600, Len: 1})
	id, err := l.r.drivers[l.q].Add(req)
	if err != nil {
		return err
	}
	l.free = l.free[:len(l.free)-1]
	l.byID[id] = i
	return nil
}

func (l *barrierLoad) run(n int) error {
	for made, done := 0, 0; done < n; done++ {
		for len(l.free) > 0 && made < n && l.rnd.IntN(4) > 0 {
			if err := l.add(); err != nil {
				return err
			}
			made++
		}
		if len(l.free) == 16 {
			done--
			continue
		}
		c, err := l.r.await(l.q)
		if err != nil {
			return err
		}
		i := l.byID[c.ID]
		if s := l.r.mem.Bytes(l.area+guestmem.GPA(i*barrierStride+600), 1)[0]; s != 0 {
			return fmt.Errorf("queue %d: status %d", l.q, s)
		}
		l.free = append(l.free, i)
	}
	return nil
}

// TestBarrierOfEveryType: the flag goes with any request, on any Disk.
func TestBarrierOfEveryType(t *testing.T) {
	for store, disk := range stores(t) {
		t.Run(store, func(t *testing.T) {
			r := newRig(t, disk, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
			for _, c := range answers {
				if c.kind&barrier != 0 {
					continue
				}
				if a := r.request(1, c.kind|barrier, c.sector, c.out, c.in); a.status != c.status || a.used != c.used {
					t.Errorf("%s: status %d, used %d; want %d, %d", c.name, a.status, a.used, c.status, c.used)
				}
			}
			r.write(0, 0, make([]byte, 512))
		})
	}
}
