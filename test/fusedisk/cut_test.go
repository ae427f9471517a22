package fusedisk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
)

const (
	cutWriters  = 4
	cutSectors  = 64 // of each writer
	cutRoom     = cutWriters * cutSectors
	cutDiskSize = cutRoom * SectorSize
	maxSectors  = 8 // of one write
)

// promise is what a back-end owes.
type promise struct {
	*driver.Ledger
	through bool // each write must survive, without a flush

	writes, flushes atomic.Uint64 // acknowledged
}

// made counts the acknowledgements that are promises.
func (p *promise) made() uint64 {
	if p.through {
		return p.writes.Load()
	}
	return p.flushes.Load()
}

// write has queue q write n sectors.
func (p *promise) write(q *driver.Queue, sector, n int) error {
	r := driver.Request{Kind: blk.RequestOut, Sector: uint64(sector), Size: n * SectorSize}
	p.Issue(sector, q.Data(0, r))
	if err := q.Do(r); err != nil {
		return err
	}
	p.writes.Add(1)
	p.Ack(sector, n)
	if p.through {
		p.Promise(sector, p.Acked(nil, sector, n))
	}
	return nil
}

// flush has queue q flush what has completed on all queues.
func (p *promise) flush(q *driver.Queue) error {
	completed := p.Acked(nil, 0, cutRoom)
	if err := q.Do(flushRequest); err != nil {
		return err
	}
	p.flushes.Add(1)
	p.Promise(0, completed)
	return nil
}

// writer writes its sectors until something fails.
func (p *promise) writer(q *driver.Queue, id int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, uint64(id)))
	for {
		n := 1 + r.IntN(maxSectors)
		if err := p.write(q, id*cutSectors+r.IntN(cutSectors-n+1), n); err != nil {
			return err
		}
		if !p.through && r.IntN(8) == 0 {
			if err := p.flush(q); err != nil {
				return err
			}
		}
	}
}

// ruin is a disk whose power is cut over and over again, while it is written by all queues of a vublk that is killed.
type ruin struct {
	*promise
	disk    *Disk
	options []string
	seed    uint64
	r       *rand.Rand
	dropped int // sectors that lost something
	broken  int // of these: against the promise
}

// cut makes so many cuts. It returns how many sectors lost what they had to keep.
func cut(t *testing.T, o Options, through bool, cuts int, options ...string) (broken int) {
	t.Helper()
	u := &ruin{promise: &promise{Ledger: driver.NewLedger(cutRoom), through: through}, disk: newDiskWith(t, cutDiskSize, o), options: options, seed: seed(t)}
	u.r = rand.New(rand.NewPCG(u.seed, 0))
	for i := range cuts {
		u.once(t, uint64(i))
	}
	t.Logf("%d cuts, seed %#x: %d writes and %d flushes acknowledged, %d sectors lost a write, %d of them against the promise",
		cuts, u.seed, u.writes.Load(), u.flushes.Load(), u.dropped, u.broken)
	if u.dropped == 0 || u.writes.Load() < uint64(cuts) {
		t.Error("nothing was lost at all: nothing is proved")
	}
	return u.broken
}

// once starts vublk, lets it work until it has made a promise and for a while longer, and cuts the power; the process is killed
// shortly before or after.
func (u *ruin) once(t *testing.T, number uint64) {
	t.Helper()
	u.disk.Restore()
	u.disk.SetDelay(time.Duration(u.r.IntN(1000)) * time.Microsecond)
	s := serve(t, []string{u.disk.Path()}, u.options...)
	m := connect(t, s.sockets[0], cutWriters, 0)
	made := u.made()
	var writers sync.WaitGroup
	failed := make([]error, cutWriters)
	for i, q := range m.queues {
		writers.Go(func() { failed[i] = u.writer(q, i, u.seed+number) })
	}
	for deadline := time.Now().Add(patience); u.made() == made; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("cut %d, seed %#x: nothing was promised in %v; vublk's log:\n%s", number, u.seed, patience, s.Log())
			break
		}
	}
	time.Sleep(time.Duration(1+u.r.IntN(150)) * time.Millisecond) // a moment by chance is what is wanted
	killFirst := u.r.IntN(2) == 0
	if killFirst {
		s.Kill()
	}
	u.dropped += u.disk.Cut(u.r.Float64()*float64(u.r.IntN(2)), u.r)
	s.Kill()
	m.dead.Store(true)
	writers.Wait()
	m.close(t)
	lost, err := u.Kept(u.disk.Content())
	if err != nil {
		t.Fatalf("cut %d, seed %#x: %v", number, u.seed, err)
	}
	u.broken += lost
	for i, err := range failed {
		if killFirst && !errors.Is(err, driver.ErrDead) {
			t.Errorf("writer %d failed before anything was killed: %v; vublk's log:\n%s", i, err, s.Log())
		}
	}
}

// seed is the random numbers' beginning: VUBLK_SEED, or any.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("VUBLK_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		t.Fatalf("VUBLK_SEED: %v", err)
	}
	return n
}

// cuts is how many a test makes.
func cuts(n int) int {
	if long {
		return 20 * n
	}
	return n
}

// TestCut: every write that was acknowledged before a FLUSH that was acknowledged is there after a cut.
func TestCut(t *testing.T) {
	for _, o := range []Options{{AsyncDirect: false}, {AsyncDirect: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			if n := cut(t, o, false, cuts(20)); n > 0 {
				t.Errorf("%d sectors lost", n)
			}
		})
	}
}

// TestCutWriteThrough: every write that was acknowledged is there after a cut.
func TestCutWriteThrough(t *testing.T) {
	for _, o := range []Options{{AsyncDirect: false}, {AsyncDirect: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			if n := cut(t, o, true, cuts(10), "--cache=writethrough"); n > 0 {
				t.Errorf("%d sectors lost", n)
			}
		})
	}
}

// TestCutUnsafe: who answers flushes without an fdatasync is found out, or the tests above prove nothing.
func TestCutUnsafe(t *testing.T) {
	if n := cut(t, Options{}, false, 5, "--cache=unsafe"); n == 0 {
		t.Error("nothing was lost, although nothing was flushed")
	}
}
