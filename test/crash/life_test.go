package crash

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// maker makes a back-end for an image, with options by chance that must not matter.
type maker func(dir, image string, r *rand.Rand) backend

// plan is what a life is to be.
type plan struct {
	shape
	maker maker
	kills int           // at least
	limit time.Duration // for one request
	seed  uint64
	alive bool // the old back-end serves until the new one is there: a stall is the longest time without a completion
}

// life is one guest with its disk, from its first request to its last.
type life struct {
	plan
	r       *rand.Rand
	image   string
	back    backend
	front   *vhostusertest.Frontend
	ledger  *driver.Ledger
	loaders []*loader

	pausing  atomic.Bool
	broken   atomic.Bool  // something is wrong: all give up
	epoch    atomic.Int64 // kills
	turned   driver.Turn  // when the last kill began, or was done, or the back-end was back
	answered atomic.Int64 // the epoch of the last completion
	first    chan time.Time
	gaps     gaps
	caught   atomic.Int64 // requests that were in flight at kills
	requests atomic.Int64
	flushes  atomic.Int64

	killed int
	stuck  int // requests, when one has been waited for too long
	stalls []time.Duration
}

// live lives a life. It returns what the life has come to, and what was wrong with it: the first thing that was.
func (p plan) live(t *testing.T) (*life, error) {
	t.Helper()
	return p.lead(t, (*life).run)
}

// lead is live with something else to happen.
func (p plan) lead(t *testing.T, run func(*life) error) (*life, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := &life{
		plan: p, r: rand.New(rand.NewPCG(p.seed, 1<<32)), image: filepath.Join(dir, "disk.raw"),
		ledger: driver.NewLedger(p.queues * ownSectors), first: make(chan time.Time, 1),
	}
	l.turned.Mark()
	if err := os.WriteFile(l.image, make([]byte, l.ledger.Sectors()*driver.SectorSize), 0o600); err != nil {
		t.Fatal(err)
	}
	l.back = p.maker(dir, l.image, l.r)
	if err := l.connect(); err != nil {
		t.Fatalf("%v\n%s", err, l.back.log())
	}
	defer func() { _ = l.front.Close() }()
	err = run(l)
	if e := l.end(err); err == nil {
		err = e
	}
	if err != nil {
		t.Logf("seed %#x: %v; the back-end's log ends with:\n%s", p.seed, err, tail(l.back.log()))
	}
	return l, err
}

// connect is the beginning of the guest.
func (l *life) connect() error {
	if err := l.back.start(); err != nil {
		return err
	}
	c, err := dial(l.back.path(), func() bool { return true })
	if err != nil {
		return err
	}
	depth := 1 + l.r.IntN(16)
	o := vhostusertest.Options{
		Queues: l.queues, QueueSize: 16 << l.r.IntN(4), Packed: l.packed,
		Memory: []guestmem.RegionInfo{virtiotest.RAM(uint64(l.queues*(depth+1)) * (maxSize + 2*maxShift + 64<<10))},
	}
	if l.front, err = vhostusertest.New(c, o); err != nil {
		return err
	}
	for i := range l.queues {
		w, err := newLoader(l, i, depth)
		if err != nil {
			return err
		}
		l.loaders = append(l.loaders, w)
	}
	return l.front.Start()
}

// run works and kills, and looks at the disk now and then.
func (l *life) run() error {
	for l.killed < l.kills {
		rounds := 1 + l.r.IntN(16)
		if err := l.work(func() error { return l.killRounds(rounds) }); err != nil {
			return err
		}
		if err := l.verify(); err != nil {
			return err
		}
	}
	return nil
}

// work has the guest work while f runs, and until all that it has asked for has ended.
func (l *life) work(f func() error) error {
	failed := make([]error, len(l.loaders))
	var wait sync.WaitGroup
	l.pausing.Store(false)
	for i, w := range l.loaders {
		wait.Go(func() {
			if failed[i] = w.run(); failed[i] != nil {
				l.broken.Store(true)
			}
		})
	}
	err := f()
	if err != nil && !l.broken.Swap(true) {
		wait.Wait() // whatever they say follows from that
		return err
	}
	l.pausing.Store(true)
	wait.Wait()
	for i, e := range failed {
		if errors.Is(e, errStuck) {
			l.stuck = 0
			for _, w := range l.loaders {
				l.stuck += w.overdue()
			}
		}
		if e != nil {
			return errors.Wrapf(e, "queue %d", i)
		}
	}
	return err
}

func (l *life) killRounds(n int) error {
	for range n {
		time.Sleep(time.Duration(l.r.IntN(40_000)) * time.Microsecond) // a moment by chance is what is wanted
		if l.broken.Load() {
			return nil
		}
		if err := l.killOnce(); err != nil {
			return err
		}
	}
	return nil
}

// killOnce kills the back-end and has it come back; sometimes it is killed again before it is there.
func (l *life) killOnce() error {
	begun := time.Now()
	l.gaps.begin(begun)
	if err := l.kill(); err != nil {
		return err
	}
	for {
		if err := l.back.start(); err != nil {
			return err
		}
		again, err := l.attach()
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	l.turned.Mark()
	for {
		select {
		case at := <-l.first:
			stall := at.Sub(begun)
			if l.alive {
				stall = time.Duration(l.gaps.longest.Load())
			}
			l.stalls = append(l.stalls, stall)
			return nil
		case <-time.After(nap):
			if l.broken.Load() {
				return nil
			}
		}
	}
}

// attach gives the guest to the back-end. True: that one was killed meanwhile, or just after.
func (l *life) attach() (again bool, err error) {
	if l.r.IntN(6) > 0 {
		return false, l.back.attach(l.front, l.queues)
	}
	killed := make(chan error, 1)
	moment := time.Duration(l.r.IntN(50_000)) * time.Microsecond
	go func() {
		time.Sleep(moment)
		killed <- l.kill()
	}()
	_ = l.back.attach(l.front, l.queues) // may fail for a good reason
	return true, <-killed
}

// kill kills the back-end. What completes when the loaders have noticed was not done by the one that is dead.
func (l *life) kill() error {
	l.turned.Mark()
	defer l.turned.Mark()
	if err := l.back.kill(); err != nil {
		return err
	}
	l.killed++
	select {
	case <-l.first: // of the one that is dead now
	default:
	}
	l.epoch.Add(1)
	for i := range l.queues {
		if err := sys.Signal(l.front.Queue(i).CallFD()); err != nil {
			return err
		}
	}
	return nil
}

// served notes a completion by the back-end that came after so many kills.
func (l *life) served(epoch int64) {
	old := l.answered.Load()
	if epoch <= old || !l.answered.CompareAndSwap(old, epoch) {
		return
	}
	select {
	case l.first <- time.Now():
	default:
	}
}

// gaps measures the longest time without a completion, on all queues together.
type gaps struct{ last, longest atomic.Int64 }

func (g *gaps) begin(now time.Time) {
	g.last.Store(now.UnixNano())
	g.longest.Store(0)
}

func (g *gaps) completed() {
	now := time.Now().UnixNano()
	gap := now - g.last.Swap(now)
	for {
		longest := g.longest.Load()
		if gap <= longest || g.longest.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// verify looks at the image as the host sees it, while nothing is in flight.
func (l *life) verify() error {
	disk, err := os.ReadFile(l.image)
	if err != nil {
		return err
	}
	return errors.Wrap(l.ledger.Check(0, disk, l.ledger.Acked(nil, 0, l.ledger.Sectors())), "the image")
}

// end stops the back-end. After a life that was well it must end well, and leave the image as it should be.
func (l *life) end(failed error) error {
	if failed != nil {
		_ = l.back.stop()
		return nil
	}
	if err := l.front.Disconnect(); err != nil {
		return err
	}
	if err := l.back.stop(); err != nil {
		return err
	}
	return l.verify()
}

// tail returns the last lines of a log.
func tail(log string) string { return log[max(0, len(log)-3000):] }
