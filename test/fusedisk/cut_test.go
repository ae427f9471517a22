package fusedisk

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
)

const (
	cutWriters  = 4
	cutSectors  = 64 // of each writer
	cutRoom     = cutWriters * cutSectors
	cutDiskSize = cutRoom * SectorSize
	maxSectors  = 8 // of one write
)

// promise is what a back-end owes: for each sector the number of the last write that must survive.
type promise struct {
	through bool // each write must, without a flush
	issued  [cutRoom]atomic.Uint64
	acked   [cutRoom]atomic.Uint64

	mu    sync.Mutex
	floor [cutRoom]uint64

	writes, flushes atomic.Uint64 // acknowledged
}

// write has queue q write n sectors.
func (p *promise) write(q *queue, r *rand.Rand, sector, n int) error {
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i] = p.issued[sector+i].Add(1)
		fill(q.data[i*SectorSize:(i+1)*SectorSize], uint64(sector+i), numbers[i])
	}
	if err := q.do(blk.RequestOut, uint64(sector), n*SectorSize); err != nil {
		return err
	}
	p.writes.Add(1)
	for i, number := range numbers {
		p.acked[sector+i].Store(number)
	}
	if p.through {
		p.raise(sector, numbers)
	}
	return nil
}

// flush has queue q flush what has completed on all queues.
func (p *promise) flush(q *queue) error {
	completed := make([]uint64, cutRoom)
	for i := range completed {
		completed[i] = p.acked[i].Load()
	}
	if err := q.do(blk.RequestFlush, 0, 0); err != nil {
		return err
	}
	p.flushes.Add(1)
	p.raise(0, completed)
	return nil
}

func (p *promise) raise(sector int, numbers []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range numbers {
		p.floor[sector+i] = max(p.floor[sector+i], n)
	}
}

// keptIn counts the sectors that do not hold what they must, and goes on from what there is.
func (p *promise) keptIn(content []byte) (lost int, err error) {
	for i := range p.floor {
		b := content[i*SectorSize : (i+1)*SectorSize]
		number := binary.LittleEndian.Uint64(b[8:])
		want := make([]byte, SectorSize)
		if number > 0 {
			fill(want, uint64(i), number)
		}
		switch {
		case !slices.Equal(b, want):
			return lost, errors.Errorf("sector %d: garbage", i)
		case number > p.issued[i].Load():
			return lost, errors.Errorf("sector %d holds write %d, which was never made", i, number)
		case number < p.floor[i]:
			lost++
		}
		p.floor[i] = number
		p.acked[i].Store(number)
	}
	return lost, nil
}

// fill makes what the sector holds after so many writes.
func fill(b []byte, sector, number uint64) {
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], sector+1)
		binary.LittleEndian.PutUint64(b[i+8:], number)
	}
}

// writer writes its sectors until something fails.
func (p *promise) writer(q *queue, id int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, uint64(id)))
	for {
		n := 1 + r.IntN(maxSectors)
		if err := p.write(q, r, id*cutSectors+r.IntN(cutSectors-n+1), n); err != nil {
			return err
		}
		if !p.through && r.IntN(8) == 0 {
			if err := p.flush(q); err != nil {
				return err
			}
		}
	}
}

// ruin cuts the power of disk d, over and over again, while it is written by all queues of a vublk that is killed then.
func ruin(t *testing.T, through bool, cuts int, options ...string) (broken int) {
	t.Helper()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	d := newDisk(t, cutDiskSize)
	p := &promise{through: through}
	dropped := 0
	for cut := range cuts {
		d.SetDelay(time.Duration(r.IntN(1000)) * time.Microsecond)
		s := serve(t, []string{d.Path()}, options...)
		m := connect(t, s.sockets[0], cutWriters, 0)
		var writers sync.WaitGroup
		failed := make([]error, cutWriters)
		for i, q := range m.queues {
			writers.Go(func() { failed[i] = p.writer(q, i, seed+uint64(cut)) })
		}
		time.Sleep(time.Duration(1+r.IntN(150)) * time.Millisecond) // a random moment is what is wanted
		luck := r.Float64() * float64(r.IntN(2))
		killFirst := r.IntN(2) == 0
		if killFirst {
			s.Kill()
		}
		dropped += d.Cut(luck, r)
		s.Kill()
		m.dead.Store(true)
		writers.Wait()
		m.close(t)
		lost, err := p.keptIn(d.Content())
		if err != nil {
			t.Fatalf("cut %d, seed %#x: %v", cut, seed, err)
		}
		broken += lost
		for i, err := range failed {
			if killFirst && !errors.Is(err, errDead) {
				t.Errorf("writer %d failed before anything was killed: %v", i, err)
			}
		}
		d.Restore()
	}
	t.Logf("%d cuts, seed %#x: %d writes and %d flushes acknowledged, %d sectors lost their last write, %d of them against the promise",
		cuts, seed, p.writes.Load(), p.flushes.Load(), dropped, broken)
	if dropped == 0 || p.writes.Load() < uint64(cuts) {
		t.Error("nothing was lost at all: nothing is proved")
	}
	return broken
}

// cuts is how many a test makes.
func cuts(n int) int {
	if long {
		return 100 * n
	}
	return n
}

// TestCut: every write that was acknowledged before a FLUSH that was acknowledged is there after a cut.
func TestCut(t *testing.T) {
	if n := ruin(t, false, cuts(12)); n > 0 {
		t.Errorf("%d sectors lost", n)
	}
}

// TestCutWriteThrough: every write that was acknowledged is there after a cut.
func TestCutWriteThrough(t *testing.T) {
	if n := ruin(t, true, cuts(8), "--cache=writethrough"); n > 0 {
		t.Errorf("%d sectors lost", n)
	}
}

// TestCutUnsafe: who answers flushes without an fdatasync is found out, or the tests above prove nothing.
func TestCutUnsafe(t *testing.T) {
	if n := ruin(t, false, 5, "--cache=unsafe"); n == 0 {
		t.Error("nothing was lost, although nothing was flushed")
	}
}
