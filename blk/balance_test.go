package blk_test

import (
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/virtiotest"
)

func TestChooseMove(t *testing.T) {
	type load = blk.LoadOf
	queues := func(n ...uint64) []uint64 { return n }
	for name, c := range map[string]struct {
		workers         []load
		from, queue, to int // from -1: nobody moves
	}{
		"nobody is busy":                    {[]load{{0.3, nil}, {0, nil}}, -1, 0, 0},
		"one busy queue beside an idle one": {[]load{{1, queues(100)}, {0, nil}}, -1, 0, 0},
		"two beside an idle one":            {[]load{{1, queues(100, 100)}, {0, nil}}, 0, 0, 1},
		"two equal ones on two workers":     {[]load{{1, queues(100)}, {1, queues(100)}}, -1, 0, 0},
		"three equal ones on two workers":   {[]load{{1, queues(50, 50)}, {1, queues(100)}}, -1, 0, 0},
		"the one that fits":                 {[]load{{0.1, nil}, {1, queues(10, 600, 400)}}, 1, 2, 0},
		"the larger half":                   {[]load{{1, queues(90, 50, 10)}, {0, nil}}, 0, 0, 1},
		"little to gain":                    {[]load{{1, queues(900, 100)}, {0.1, nil}}, -1, 0, 0},
		"the other one has enough to do":    {[]load{{1, queues(50, 50)}, {0.65, nil}}, -1, 0, 0},
		"to the least busy of three":        {[]load{{0.5, nil}, {0.2, nil}, {0.9, queues(50, 50)}}, 2, 0, 1},
		"from the busiest of three":         {[]load{{0.8, queues(50, 50)}, {1, queues(50, 50)}, {0, nil}}, 1, 0, 2},
		"from the one that can be helped":   {[]load{{0.8, queues(50, 50)}, {1, queues(100)}, {0, nil}}, 0, 0, 2},
	} {
		from, queue, to, found := blk.ChooseMove(c.workers)
		if !found {
			from = -1
		}
		if from != c.from || queue != c.queue || to != c.to {
			t.Errorf("%s: queue %d of %d to %d, want %d of %d to %d", name, queue, from, to, c.queue, c.from, c.to)
		}
	}
}

// TestLoad: a worker that polls all the time and serves a request now and then is not busy, one that copies
// all the time is. Then it is idle, and that shows although it measures nothing any more.
func TestLoad(t *testing.T) {
	poll, err := blk.ParsePoll("10ms")
	if err != nil {
		t.Fatal(err)
	}
	disk, err := blk.NewMem(4 * mib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	r := newRig(t, disk, rigOptions{pool: blk.PoolOptions{Workers: 2, Poll: poll}})
	w := r.dev.WorkerOf(0)
	// Each is tried until it is so: a worker that waits for a CPU beside its polling looks busier than it is.
	eventually(t, "it polls and is not busy", func() bool {
		for begin := time.Now(); time.Since(begin) < 600*time.Millisecond; time.Sleep(2 * time.Millisecond) {
			r.read(0, 0, 512)
		}
		l := r.pool.Loads()[w]
		return 0 < l && l < blk.BusyLoad/2
	})
	r.mem.Write(r.header, header(blk.RequestOut, 0))
	eventually(t, "it copies and is busy", func() bool {
		for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
			r.keepCopying()
		}
		return r.pool.Loads()[w] >= blk.BusyLoad
	})
	for r.drivers[0].Outstanding() > 0 {
		r.next(0)
	}
	eventually(t, "it is idle", func() bool { return r.pool.Loads()[w] == 0 })
}

// keepCopying keeps four large writes in flight, and waits for one.
func (r *rig) keepCopying() {
	r.t.Helper()
	for r.drivers[0].Outstanding() < 4 {
		if _, err := r.drivers[0].Add(virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: r.header, Len: 16}, {GPA: r.data, Len: 4 * mib}},
			Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.next(0)
}
