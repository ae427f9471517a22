package daemon

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	firstSize, lastSize = 256 << 10, 512 << 10
	depth               = 4
	maxSectors          = 32

	nap = 20 * time.Millisecond // without a look at the ring, and between requests
	// comeBackTime is how long after a kill the daemon may take to be there again, with this guest's export.
	comeBackTime = 30 * time.Second
	requestTime  = 45 * time.Second // after the last kill
)

// guest has an export that nobody else changes, and is its front-end.
type guest struct {
	site *site

	number int
	r      *rand.Rand // of the requests
	when   *rand.Rand // of the verbs, which another goroutine calls
	name   string

	image, socket string

	front  *vhostusertest.Frontend
	queue  *driver.Queue
	ledger *driver.Ledger
	begun  [depth]time.Time
	low    [depth][]uint64 // what a read must see at least
	size   int             // up to which the guest reads and writes
	epoch  int64           // of the daemon that it is connected to

	settling atomic.Bool // no new requests until all have ended

	requests, resumes int

	mu    sync.Mutex // for what others look at
	known known
}

// known is what must be true of an export.
type known struct {
	version  int  // of this, to see whether something has happened meanwhile
	there    bool // the daemon must have it
	maybe    bool // a call is under way: it may, or may not
	size     uint64
	timeouts [2]int64 // lock_timeout_ns, before and after a change that is under way
}

func (g *guest) tell(change func(*known)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.known)
	g.known.version++
}

func (g *guest) ask() known {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known
}

func newGuest(s *site, i int) *guest {
	return &guest{
		site: s, number: i, r: rand.New(rand.NewPCG(lab.seed, uint64(i))), when: rand.New(rand.NewPCG(^lab.seed, uint64(i))), name: fmt.Sprintf("vm/%d ü", i),
		image: s.path(fmt.Sprintf("%d.raw", i)), socket: s.path(fmt.Sprintf("%d.sock", i)),
		ledger: driver.NewLedger(lastSize / driver.SectorSize), size: firstSize,
	}
}

const firstTimeout, lastTimeout = int64(40 * time.Second), int64(50 * time.Second)

// create makes the export, its image too.
func (g *guest) create() error {
	g.tell(func(k *known) { k.maybe, k.size, k.timeouts = true, firstSize, [2]int64{firstTimeout, firstTimeout} })
	timeout := firstTimeout
	err := g.site.client.create(&vublkv1.Definition{Name: g.name, SocketPath: g.socket, BlkFile: g.image, LockTimeoutNs: &timeout}, firstSize)
	g.tell(func(k *known) { k.maybe, k.there = false, true })
	return err
}

// grow makes the image larger, and the guest use all of it.
func (g *guest) grow() error {
	if err := g.site.client.resize(g.name, lastSize); err != nil {
		return err
	}
	g.tell(func(k *known) { k.size = lastSize })
	return nil
}

// change changes an option that takes effect at once.
func (g *guest) change() error {
	g.tell(func(k *known) { k.timeouts[1] = lastTimeout })
	err := g.site.client.update(g.name, "lock_timeout", "50s")
	g.tell(func(k *known) { k.timeouts[0] = lastTimeout })
	return err
}

// remove deletes the export, whoever is connected.
func (g *guest) remove() error {
	g.tell(func(k *known) { k.maybe, k.there = true, false })
	err := g.site.client.remove(g.name)
	g.tell(func(k *known) { k.maybe = false })
	return err
}

// attach is the beginning of the guest.
func (g *guest) attach() error {
	o := vhostusertest.Options{QueueSize: 16, TableLen: 4, Memory: []guestmem.RegionInfo{virtiotest.RAM(512 << 10)}}
	for begin := time.Now(); ; time.Sleep(nap) {
		epoch := g.site.epoch.Load()
		f, err := vhostusertest.Connect(g.socket, o)
		if err == nil {
			g.front, g.epoch = f, epoch
			g.queue, err = driver.New(f.Queue(0), driver.Options{Depth: depth, Room: maxSectors * driver.SectorSize})
			if err != nil {
				return err
			}
			if f.Start() != nil { // it was killed
				return g.come(new(atomic.Bool))
			}
			return nil
		}
		if g.site.killed.Since(begin) > comeBackTime {
			return errors.Wrapf(err, "export %q", g.name)
		}
	}
}

// come connects again after a kill, as QEMU does, until quit is set: the export may have been deleted.
func (g *guest) come(quit *atomic.Bool) error {
	for begin := time.Now(); ; time.Sleep(nap) {
		epoch := g.site.epoch.Load()
		err := g.comeOnce()
		switch {
		case err == nil:
			g.epoch = epoch
			g.resumes++
			return nil
		case quit.Load() || g.site.broken.Load():
			return nil
		case g.site.killed.Since(begin) > comeBackTime:
			return errors.Wrapf(err, "export %q after a kill", g.name)
		}
	}
}

func (g *guest) comeOnce() error {
	if err := g.front.Disconnect(); err != nil {
		return err
	}
	g.front.SetBase(0, virtio.Base(g.front.Queue(0).Split().UsedIdx()))
	c, err := vhostusertest.Dial(g.socket)
	if err != nil {
		return err
	}
	if err := g.front.Reconnect(c); err != nil {
		return err
	}
	return g.front.Start()
}

// work makes requests until quit is set, and returns with some of them in flight.
func (g *guest) work(quit *atomic.Bool) error {
	for !quit.Load() && !g.site.broken.Load() {
		if g.epoch != g.site.epoch.Load() {
			if err := g.come(quit); err != nil {
				return err
			}
			continue
		}
		if err := g.issue(); err != nil {
			return err
		}
		if err := g.reap(); err != nil {
			return err
		}
		if g.queue.Ring().EnableCalls() {
			continue
		}
		if _, err := g.queue.Ring().WaitCall(nap); err != nil {
			return err
		}
		g.queue.Ring().DisableCalls()
		time.Sleep(time.Duration(g.r.IntN(int(nap)))) // hundreds of guests share two CPUs
	}
	return nil
}

// settle waits until every request that was made has ended, with kills in between: none is lost.
func (g *guest) settle() error {
	for g.settling.Store(true); g.settling.Load() && !g.site.broken.Load(); {
		time.Sleep(nap)
	}
	return nil
}

// issue fills some of the free slots.
func (g *guest) issue() error {
	settling, flying := g.settling.Load(), false
	for i := range depth {
		if g.queue.Flying(i) {
			flying = true
			if age := g.site.killed.Since(g.begun[i]); age > requestTime {
				return errors.Errorf("export %q: %v has not ended %v after the last kill", g.name, g.queue.Request(i), age)
			}
			continue
		}
		if settling {
			continue
		}
		r := g.next()
		if r.Kind == blk.RequestOut && g.overlaps(r) {
			continue
		}
		first, n := int(r.Sector), r.Size/driver.SectorSize
		switch r.Kind {
		case blk.RequestIn:
			g.low[i] = g.ledger.Acked(g.low[i], first, n)
			clear(g.queue.Data(i, r))
		case blk.RequestOut:
			g.ledger.Issue(first, g.queue.Data(i, r))
		}
		g.begun[i] = time.Now()
		if err := g.queue.Add(i, r); err != nil {
			return err
		}
	}
	if settling && !flying {
		g.settling.Store(false)
	}
	return g.queue.Publish()
}

func (g *guest) next() driver.Request {
	n := 1 + g.r.IntN(maxSectors)
	r := driver.Request{Kind: blk.RequestOut, Parts: 1, Size: n * driver.SectorSize, Sector: uint64(g.r.IntN(g.size/driver.SectorSize - n + 1))}
	switch g.r.IntN(10) {
	case 0:
		return driver.Request{Kind: blk.RequestFlush, Parts: 1}
	case 1, 2, 3:
		r.Kind = blk.RequestIn
	}
	return r
}

// overlaps tells whether a write in flight has a sector of r.
func (g *guest) overlaps(r driver.Request) bool {
	for i := range depth {
		o := g.queue.Request(i)
		if g.queue.Flying(i) && o.Kind == blk.RequestOut &&
			r.Sector < o.Sector+uint64(o.Size/driver.SectorSize) && o.Sector < r.Sector+uint64(r.Size/driver.SectorSize) {
			return true
		}
	}
	return false
}

// reap takes what has completed, and judges it.
func (g *guest) reap() error {
	for {
		slot, ok, err := g.queue.Reap()
		if err != nil {
			return errors.Wrapf(err, "export %q", g.name)
		}
		if !ok {
			return nil
		}
		g.requests++
		r := g.queue.Request(slot)
		first, n := int(r.Sector), r.Size/driver.SectorSize
		switch r.Kind {
		case blk.RequestIn:
			if err := g.ledger.Check(first, g.queue.Data(slot, r), g.low[slot]); err != nil {
				return errors.Wrapf(err, "export %q: %v", g.name, r)
			}
		case blk.RequestOut:
			g.ledger.Ack(first, n)
		}
	}
}

// verify looks at the image when nobody serves it any more.
func (g *guest) verify() error {
	if err := g.reap(); err != nil { // what the daemon has completed before it let go
		return err
	}
	disk, err := os.ReadFile(g.image)
	if err != nil {
		return err
	}
	if len(disk) != g.size {
		return errors.Errorf("%s has %d bytes, want %d", g.image, len(disk), g.size)
	}
	return errors.Wrapf(g.ledger.Check(0, disk, g.ledger.Acked(nil, 0, len(disk)/driver.SectorSize)), "export %q", g.name)
}
