package blk_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// ledger is what a test has asked of each queue and what it was answered.
type ledger struct {
	r    *rig
	want []blk.QueueStats
}

func newLedger(r *rig, queues int) *ledger {
	l := &ledger{r: r, want: make([]blk.QueueStats, queues)}
	for i := range l.want {
		l.want[i].Index = i
	}
	return l
}

// entry is one kind of request, with what the books must say of it.
type entry struct {
	name        string
	op          func(*blk.QueueStats) *blk.OpStats
	kind        blk.RequestType
	sector      uint64
	out         []byte
	in          int
	bytes       uint64
	status      byte
	extra       func(*blk.QueueStats)
	unalignment uint64 // of the data
}

// entries has every answer of a device on a disk of 8 MiB whose unit is 512 bytes.
func entries() []entry {
	read := func(s *blk.QueueStats) *blk.OpStats { return &s.Read }
	write := func(s *blk.QueueStats) *blk.OpStats { return &s.Write }
	discard := func(s *blk.QueueStats) *blk.OpStats { return &s.Discard }
	zeroes := func(s *blk.QueueStats) *blk.OpStats { return &s.WriteZeroes }
	other := func(s *blk.QueueStats) *blk.OpStats { return &s.Other }
	bounced := func(s *blk.QueueStats) { s.Bounced++ }
	barrier := func(s *blk.QueueStats) { s.Barriers++ }
	const end = 8 * mib / 512
	return []entry{
		{name: "read", op: read, kind: blk.RequestIn, sector: 8, in: 64 * kib, bytes: 64 * kib},
		{name: "read of nothing", op: read, kind: blk.RequestIn},
		{name: "read past the end", op: read, kind: blk.RequestIn, sector: end, in: 4096, bytes: 4096, status: 1},
		{name: "read bounced", op: read, kind: blk.RequestIn, in: 8192, bytes: 8192, extra: bounced, unalignment: 16},
		{name: "write", op: write, kind: blk.RequestOut, sector: 16, out: make([]byte, 4096), bytes: 4096},
		{name: "write past the end", op: write, kind: blk.RequestOut, sector: end - 1, out: make([]byte, 1024), bytes: 1024, status: 1},
		{name: "write bounced", op: write, kind: blk.RequestOut, out: make([]byte, 512), bytes: 512, extra: bounced, unalignment: 4},
		{name: "write with a flag that was not negotiated", op: write, kind: blk.RequestOut | 1<<31, out: make([]byte, 512), bytes: 512, extra: barrier},
		{name: "discard", op: discard, kind: blk.RequestDiscard, out: segment(0, 64, 0), bytes: 64 * 512},
		{name: "discard past the end", op: discard, kind: blk.RequestDiscard, out: segment(end, 64, 0), status: 1},
		{name: "discard with unmap", op: discard, kind: blk.RequestDiscard, out: segment(0, 64, 1), status: 2},
		{name: "zeroes", op: zeroes, kind: blk.RequestWriteZeroes, out: segment(64, 16, 0), bytes: 16 * 512},
		{name: "zeroes without a segment", op: zeroes, kind: blk.RequestWriteZeroes, status: 1},
		{name: "id", op: other, kind: blk.RequestGetID, in: 20},
		{name: "unknown", op: other, kind: 99, status: 2},
	}
}

// do makes one request and books it.
func (l *ledger) do(q int, e entry) {
	l.r.t.Helper()
	at := l.r.data
	l.r.data += guestmem.GPA(e.unalignment)
	a := l.r.request(q, e.kind, e.sector, e.out, e.in)
	l.r.data = at
	if a.status != e.status {
		l.r.t.Fatalf("%s: status %d, want %d", e.name, a.status, e.status)
	}
	op := e.op(&l.want[q])
	op.Requests++
	op.Bytes += e.bytes
	switch e.status {
	case 1:
		op.Errors++
	case 2:
		op.Unsupported++
	}
	if e.extra != nil {
		e.extra(&l.want[q])
	}
}

// malformed makes a chain that cannot be answered.
func (l *ledger) malformed(q int) {
	l.r.t.Helper()
	if used := l.r.roundTrip(q, virtiotest.Request{Readable: []virtiotest.Area{{GPA: l.r.header, Len: 8}}}); used != 0 {
		l.r.t.Fatalf("a chain without room for a status: used %d", used)
	}
	l.want[q].Malformed++
}

// flush makes a flush, which is merged unless something was written since the last one.
func (l *ledger) flush(q int, merged bool) {
	l.r.t.Helper()
	if a := l.r.request(q, blk.RequestFlush, 0, nil, 0); a.status != 0 {
		l.r.t.Fatalf("flush: status %d", a.status)
	}
	l.want[q].Flush.Requests++
	if merged {
		l.want[q].FlushesMerged++
	}
}

// check compares the device's books with ours, but for what this driver cannot know: how long things took, how often it
// was called, where a queue runs.
func (l *ledger) check(s blk.Stats) {
	l.r.t.Helper()
	if len(s.Queues) != len(l.want) {
		l.r.t.Fatalf("%d queues, want %d", len(s.Queues), len(l.want))
	}
	var total blk.QueueStats
	for i := range s.Queues {
		got := s.Queues[i]
		for n, op := range got.Ops() {
			if op.Latency.Count() != op.Requests {
				l.r.t.Errorf("queue %d, kind %d: %d requests, and %d took their time", i, n, op.Requests, op.Latency.Count())
			}
			op.Latency = blk.Histogram{}
			total.Ops()[n].Requests += op.Requests
			total.Ops()[n].Bytes += op.Bytes
			if s.Total.Ops()[n].Latency.Count() != s.Total.Ops()[n].Requests {
				l.r.t.Errorf("kind %d: the sum of histograms has %d values", n, s.Total.Ops()[n].Latency.Count())
			}
		}
		got.Worker, got.Kicks, got.Calls = 0, 0, 0
		if !reflect.DeepEqual(got, l.want[i]) {
			l.r.t.Errorf("queue %d:\n%+v, want\n%+v", i, got, l.want[i])
		}
	}
	for n, op := range total.Ops() {
		if sum := s.Total.Ops()[n]; sum.Requests != op.Requests || sum.Bytes != op.Bytes {
			l.r.t.Errorf("kind %d: %d requests of %d bytes in sum, want %d of %d", n, sum.Requests, sum.Bytes, op.Requests, op.Bytes)
		}
	}
}

// TestStatsAreExact, over stops and moves of the queues.
func TestStatsAreExact(t *testing.T) {
	for name, ring := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
		t.Run(name, func(t *testing.T) {
			const queues = 3
			file := unitDisk{openFile(t, newFile(t, 8*mib), blk.FileOptions{}), 512, 512}
			acked := allFeatures &^ (blk.FeatureConfigWCE | blk.FeatureBarrier)
			r := newRig(t, file, rigOptions{queues: queues, ring: ring, acked: acked, pool: blk.PoolOptions{Workers: 2}})
			l := newLedger(r, queues)
			all := entries()
			l.flush(0, false) // a predecessor may have left something
			syncs := uint64(1)
			for round := range 20 {
				for range 30 {
					l.do(rand.IntN(queues), all[rand.IntN(len(all))])
				}
				q := rand.IntN(queues)
				l.malformed(q)
				l.do(q, all[4]) // a write
				l.flush(rand.IntN(queues), false)
				l.flush(q, true)
				syncs++
				if round%2 == 0 {
					base, err := r.dev.StopQueue(q)
					if err != nil {
						t.Fatal(err)
					}
					l.check(r.dev.Stats())
					r.startAt(q, base)
				} else {
					r.dev.Move(q, 1-r.dev.WorkerOf(q))
				}
				l.check(r.dev.Stats())
			}
			if s := r.dev.Stats(); s.Fdatasyncs != syncs || s.FdatasyncErrors != 0 {
				t.Errorf("%d fdatasyncs, %d failed; want %d and none", s.Fdatasyncs, s.FdatasyncErrors, syncs)
			}
			moved, queuesNow := uint64(0), 0
			for _, w := range r.pool.Stats() {
				moved += w.MovedIn
				queuesNow += w.Queues
			}
			if moved == 0 || queuesNow != queues {
				t.Errorf("%d moves, %d queues", moved, queuesNow)
			}
			r.must(r.dev.Close)
			l.check(r.dev.Stats())
		})
	}
}

// TestStatsUnderLoad: who looks sees nothing go back, and in the end everything is there once. Each flush was merged or had
// an fdatasync of its own.
func TestStatsUnderLoad(t *testing.T) {
	const queues = 3
	file := openFile(t, newFile(t, 64*mib), blk.FileOptions{})
	r := newRig(t, file, rigOptions{queues: queues, pool: blk.PoolOptions{Workers: 2}})
	reads, writes := newLoop(r, 0, 32, blk.RequestIn, 4096), newLoop(r, 1, 16, blk.RequestOut, 8192)
	flushes := newLoop(r, 2, 8, blk.RequestFlush, 0)
	mover := startMover(t, r.dev, queues, 2)
	var load sync.WaitGroup
	var enough atomic.Bool
	for _, l := range []*loop{reads, writes, flushes} {
		load.Go(func() {
			for !enough.Load() {
				l.run(100)
			}
		})
	}
	var last blk.Stats
	looks := 0
	missing := func() int64 { // of 5 moves, 20 looks and 20 fdatasyncs
		return max(5-mover.moved.Load(), 0) + max(20-int64(looks), 0) + max(20-int64(last.Fdatasyncs), 0)
	}
	least, deadline := missing(), time.Now().Add(waitLong)
	for ; least > 0; looks++ {
		now := r.dev.Stats()
		if err := wentBack(last, now); err != nil || time.Now().After(deadline) {
			t.Errorf("after %d looks, %d moves and %d fdatasyncs: %v", looks, mover.moved.Load(), now.Fdatasyncs, err)
			break
		}
		last = now
		if left := missing(); left < least { // each step has its time, however slow the disk is
			least, deadline = left, time.Now().Add(waitLong)
		}
	}
	enough.Store(true)
	load.Wait()
	mover.end()
	s := r.dev.Stats()
	t.Logf("%d looks, %d moves; %d requests; %d flushes, %d merged, %d fdatasyncs", looks, mover.moved.Load(),
		s.Total.Requests(), s.Total.Flush.Requests, s.Total.FlushesMerged, s.Fdatasyncs)
	for what, c := range map[string]struct{ got, want int }{
		"reads":      {int(s.Total.Read.Requests), reads.all},
		"bytes read": {int(s.Total.Read.Bytes), reads.all * 4096},
		"writes":     {int(s.Total.Write.Requests), writes.all},
		"written":    {int(s.Total.Write.Bytes), writes.all * 8192},
		"flushes":    {int(s.Total.Flush.Requests), flushes.all},
		"answered":   {int(s.Total.FlushesMerged + s.Fdatasyncs), flushes.all},
		"errors":     {int(s.Total.Errors() + s.Total.Unsupported()), 0},
		"in flight":  {s.Total.InFlight, 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", what, c.got, c.want)
		}
	}
}

// wentBack compares two looks at a device's books, one after the other, and one with itself.
func wentBack(before, now blk.Stats) error {
	for i, op := range now.Total.Ops() {
		old := before.Total.Ops()[i]
		if op.Requests < old.Requests || op.Bytes < old.Bytes || op.Latency.Sum < old.Latency.Sum {
			return fmt.Errorf("kind %d went from %d requests back to %d", i, old.Requests, op.Requests)
		}
		if op.Latency.Count() != op.Requests {
			return fmt.Errorf("kind %d has %d requests, and %d that took their time", i, op.Requests, op.Latency.Count())
		}
	}
	if now.Fdatasyncs < before.Fdatasyncs {
		return fmt.Errorf("fdatasyncs went from %d back to %d", before.Fdatasyncs, now.Fdatasyncs)
	}
	return nil
}

// TestLatency holds reads back for times that the test measures from within and from without.
func TestLatency(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{})
	least, most := []time.Duration{}, []time.Duration{}
	for _, hold := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		begin := time.Now()
		r.addReads(0, 1, r.data)
		eventually(t, "the read hangs", func() bool { return len(r.pool.Pending()) == 1 })
		fetched := time.Now()
		time.Sleep(hold) // the time to be measured
		least = append(least, time.Since(fetched))
		feed(512)
		r.next(0)
		h := r.dev.Stats().Total.Read.Latency // the worker has read the clock when it answers
		most = append(most, time.Since(begin))
		if n := uint64(len(least)); h.Count() != n {
			t.Fatalf("%d values, want %d", h.Count(), n)
		}
	}
	h := r.dev.Stats().Total.Read.Latency
	// A busy machine may stretch a short hold beyond a longer one. Quantiles are in order of size, so bounds must be, too.
	slices.Sort(least)
	slices.Sort(most)
	low, high := time.Duration(0), time.Duration(0)
	for i := range least {
		low, high = low+least[i], high+most[i]
		q := h.Quantile(float64(i+1) / float64(len(least)))
		t.Logf("measured %v to %v, told %v", least[i], most[i], q)
		if q < least[i] || q > most[i]+most[i]/8 {
			t.Errorf("quantile %d is %v, want %v to %v, or up to 12.5 %% more", i+1, q, least[i], most[i])
		}
	}
	if sum := time.Duration(h.Sum); sum < low || sum > high {
		t.Errorf("the sum is %v, want %v to %v", sum, low, high)
	}
}

// TestFailedFlushIsCounted apart from those that ended well.
func TestFailedFlushIsCounted(t *testing.T) {
	in, _ := newPipe(t) // fdatasync of a pipe is EINVAL
	r := newRig(t, fdDisk{fd: in, size: mib}, rigOptions{device: blk.DeviceOptions{FlushError: blk.FlushErrorRetry}})
	for range 3 {
		if a := r.request(0, blk.RequestFlush, 0, nil, 0); a.status != 1 {
			t.Fatalf("flush: status %d", a.status)
		}
	}
	if s := r.dev.Stats(); s.Fdatasyncs != 0 || s.FdatasyncErrors != 3 || s.Total.Flush.Errors != 3 || s.Total.FlushesMerged != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWorkersTimes: what a worker did makes up the time; it is idle without work and busy with it, and polls as it is told.
func TestWorkersTimes(t *testing.T) {
	poll, err := blk.ParsePoll("300us")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r := newRig(t, blk.NewNull(mib), rigOptions{pool: blk.PoolOptions{Poll: poll, CPUs: anyCPU(t)}})
	r.read(0, 0, 4096)
	eventually(t, "the worker sleeps", func() bool { return r.pool.Stats()[0].PollsLost > 0 })
	first := r.pool.Stats()[0]
	newLoop(r, 0, 32, blk.RequestIn, 4096).run(200_000)
	s := r.pool.Stats()[0]
	elapsed := time.Since(begin)
	t.Logf("%v of %v; before: %v", s, elapsed, first)
	if all := s.Idle + s.Polling + s.Busy; all > elapsed || all < (elapsed-10*time.Millisecond)/2 {
		t.Errorf("%v idle, %v polling and %v busy are not %v", s.Idle, s.Polling, s.Busy, elapsed)
	}
	if s.Busy <= first.Busy || first.Polling < 100*time.Microsecond || s.PollsWon == 0 || s.Enters == 0 || s.Queues != 1 {
		t.Errorf("%+v", s)
	}
	if want := anyCPU(t)[0]; s.CPU != want {
		t.Errorf("on CPU %d, want %d", s.CPU, want)
	}
	if idle := newRig(t, blk.NewNull(mib), rigOptions{}).pool.Stats()[0]; idle.CPU != -1 {
		t.Errorf("a worker without a CPU of its own is on CPU %d", idle.CPU)
	}
}

// anyCPU is one that this process may use.
func anyCPU(t *testing.T) []int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if set.IsSet(i) {
			return []int{i}
		}
	}
	t.Fatal("no CPU")
	return nil
}

// TestNothingCountedCostsNothing: an export that nobody uses has no histograms.
func TestNothingCountedCostsNothing(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{queues: 2})
	for _, q := range r.dev.Stats().Queues {
		for i, op := range q.Ops() {
			if op.Latency.Counts != nil {
				t.Errorf("queue %d has a histogram of kind %d", q.Index, i)
			}
		}
	}
}
