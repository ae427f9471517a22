package durability

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// spins is how often the dice are thrown for nothing before the driver sleeps: a sleep takes a millisecond on some machines.
const spins = 3000

// patience bounds how long nothing may happen in a run.
const patience = 30 * time.Second

// mode is which durability was negotiated.
type mode struct {
	name    string
	cache   blk.CacheMode
	refuses virtio.Features // of what the device offers
	toggles bool            // the driver changes writeback now and then
	through bool            // each write is stable when it completes: what the driver goes by
	noFlush bool            // the driver may not send FLUSH
}

var (
	writeBack    = mode{name: "write-back", cache: blk.CacheAuto}
	writeThrough = mode{name: "write-through", cache: blk.CacheWritethrough, through: true, noFlush: true}
	flushRefused = mode{name: "FLUSH refused", cache: blk.CacheWriteback, refuses: blk.FeatureFlush, through: true, noFlush: true}
	configWCE    = mode{name: "config-wce", cache: blk.CacheWriteback, toggles: true}
	unsafeCache  = mode{name: "unsafe", cache: blk.CacheUnsafe}
)

// config is one run.
type config struct {
	packed          bool
	queues, workers int
	mode            mode
	seed            uint64
	requests        int
	unmaps          bool // zeroes may be deallocated
	flaw            flaw
	fault           fault
	flushError      blk.FlushErrorMode
}

func (c config) String() string {
	ring := "split"
	if c.packed {
		ring = "packed"
	}
	return fmt.Sprintf("%s/%s/%dq/%dw", c.mode.name, ring, c.queues, c.workers)
}

// run is a driver at work. It belongs to one goroutine.
type run struct {
	config
	clock   clock
	disk    *disk
	guest   *guest
	history history
	plan    *rand.Rand // what is asked for
	dice    *rand.Rand // what happens next

	next    *op // planned, waits for its sectors
	slots   []int
	flights []map[uint16]flight // by queue and id
	pending []pending           // added, not available
	busy    [diskSectors]int    // requests in flight; a modification counts as maxInt's half
	known   [diskSectors][]content
	through bool
	control chan error // a WriteConfig is under way

	ended    int
	progress time.Time
	wrong    []string
}

type flight struct {
	op   *op
	slot int
}

type pending struct {
	op    *op
	queue int
}

// exclusive is what a modification adds to the sectors' counts.
const exclusive = 1 << 20

// execute is executeRun for those who want figures only.
func execute(c config) (v verdict, calls int, err error) {
	r, v, err := executeRun(c)
	return v, len(r.disk.events), err
}

// executeRun makes the requests of c, waits for their ends, and checks all that happened.
func executeRun(c config) (r *run, v verdict, err error) {
	r = &run{
		config: c, plan: rand.New(rand.NewPCG(c.seed, 1)), dice: rand.New(rand.NewPCG(c.seed, 2)),
		through: c.mode.through, progress: time.Now(),
	}
	r.disk = newDisk(&r.clock, diskSectors)
	r.disk.flaw, r.disk.fault = c.flaw, c.fault
	for s := range r.known {
		r.known[s] = []content{zeroed}
	}
	for i := range depth {
		r.slots = append(r.slots, i)
	}
	for range c.queues {
		r.flights = append(r.flights, map[uint16]flight{})
	}
	if r.guest, err = newGuest(r.disk, c); err != nil {
		return r, v, err
	}
	err = r.drive()
	r.disk.releaseAll()
	if r.control != nil {
		if stopped := <-r.control; err == nil {
			err = stopped
		}
	}
	events := r.disk.events
	if closing := r.guest.close(); err == nil {
		err = closing
	}
	if err != nil {
		return r, v, errors.Wrapf(err, "%v, seed %#x", c, c.seed)
	}
	v = check(&r.history, events, diskSectors, rand.New(rand.NewPCG(c.seed, 3)))
	v.wrong += len(r.wrong)
	for _, w := range r.wrong {
		v.note("%s", w)
	}
	return r, v, nil
}

// drive throws dice until all requests have ended.
func (r *run) drive() error {
	for idle := 0; r.ended < r.requests || r.control != nil; {
		did, err := r.step()
		if err != nil {
			return err
		}
		if did {
			idle, r.progress = 0, time.Now()
			continue
		}
		if idle++; idle < spins {
			runtime.Gosched()
			continue
		}
		if time.Since(r.progress) > patience {
			return errors.Errorf("nothing happens: %d of %d requests have ended, in flight: %v", r.ended, r.requests, r.guest.pool.Pending())
		}
		time.Sleep(20 * time.Microsecond) // the device's threads need the CPUs
	}
	return nil
}

// step does one thing that the driver, or the Disk, may do now.
func (r *run) step() (did bool, err error) {
	switch r.dice.IntN(10) {
	case 0, 1, 2, 3:
		return r.submit()
	case 4, 5:
		return r.publish()
	case 6, 7:
		return r.disk.release(r.dice), nil
	case 8:
		return r.toggle()
	}
	return r.reap()
}

// submit adds the next request to a queue, when its sectors are free.
func (r *run) submit() (bool, error) {
	if len(r.slots) == 0 || r.next == nil && len(r.history.ops) == r.requests {
		return false, nil
	}
	if r.next == nil {
		r.next = r.planned(len(r.history.ops))
		r.history.ops = append(r.history.ops, r.next)
	}
	o := r.next
	if !r.takeSectors(o) {
		return false, nil
	}
	slot := r.slots[len(r.slots)-1]
	r.slots = r.slots[:len(r.slots)-1]
	chain, err := r.guest.chain(o, slot, r.dice.IntN(2) == 0)
	if err != nil {
		return false, err
	}
	q := r.dice.IntN(r.queues)
	id, err := r.guest.drivers[q].Add(chain)
	if err != nil {
		return false, err
	}
	r.flights[q][id] = flight{o, slot}
	r.pending = append(r.pending, pending{o, q})
	r.next = nil
	return true, nil
}

// planned draws request number i.
func (r *run) planned(i int) *op {
	o := &op{index: i, status: noStatus, segments: 1}
	o.sectors = 1 + r.plan.IntN(maxSectors)
	o.first = r.plan.IntN(diskSectors - o.sectors)
	o.barrier = r.plan.IntN(16) == 0
	switch n := r.plan.IntN(20); {
	case n < 9:
		o.kind, o.content = blk.RequestOut, content(i+1)
	case n < 11:
		o.kind, o.segments = blk.RequestDiscard, 1+r.plan.IntN(min(o.sectors, 2))
		o.content = discarded
	case n < 13:
		o.kind, o.segments = blk.RequestWriteZeroes, 1+r.plan.IntN(min(o.sectors, 2))
		o.unmap = r.unmaps && r.plan.IntN(2) == 0
	case n < 15 || r.mode.noFlush:
		o.kind = blk.RequestIn
	default:
		o.kind, o.first, o.sectors = blk.RequestFlush, 0, 0
	}
	return o
}

// takeSectors keeps modifications away from all others on their sectors.
func (r *run) takeSectors(o *op) bool {
	busy := r.busy[o.first : o.first+o.sectors]
	for _, n := range busy {
		if n >= exclusive || n > 0 && o.modifies() {
			return false
		}
	}
	r.mark(o, 1)
	return true
}

func (r *run) mark(o *op, n int) {
	if o.modifies() {
		n *= exclusive
	}
	for s := range o.sectors {
		r.busy[o.first+s] += n
	}
}

// publish makes the added requests of a queue available.
func (r *run) publish() (bool, error) {
	if len(r.pending) == 0 {
		return false, nil
	}
	q := r.pending[r.dice.IntN(len(r.pending))].queue
	now := r.clock.tick()
	r.pending = slices.DeleteFunc(r.pending, func(p pending) bool {
		if p.queue == q {
			p.op.submitted, p.op.through = now, r.through
		}
		return p.queue == q
	})
	_, err := r.guest.drivers[q].Publish()
	return true, err
}

// reap takes what a queue has completed.
func (r *run) reap() (bool, error) {
	q := r.dice.IntN(r.queues)
	for did := false; ; did = true {
		done, ok, err := r.guest.drivers[q].Reap()
		if !ok || err != nil {
			return did, err
		}
		f := r.flights[q][done.ID]
		delete(r.flights[q], done.ID)
		f.op.completed, f.op.status = r.clock.tick(), r.guest.status(f.slot)
		if err := r.complete(f, done.Len); err != nil {
			return true, err
		}
	}
}

func (r *run) complete(f flight, used uint32) error {
	o := f.op
	switch {
	case o.status != statusOK && (o.status != statusIOErr || r.fault.err == nil):
		return errors.Errorf("%v: nobody asked for that status", o)
	case o.kind == blk.RequestIn && o.ok():
		r.checkRead(o, r.guest.data(f.slot, o), used)
	case o.modifies():
		r.learn(o)
	}
	r.mark(o, -1)
	r.slots = append(r.slots, f.slot)
	r.ended++
	return nil
}

// learn notes what a modification has left: its own content, or, when it has failed, perhaps the one before.
func (r *run) learn(o *op) {
	for s := o.first; s < o.first+o.sectors; s++ {
		if o.ok() {
			r.known[s] = r.known[s][:0]
		}
		r.known[s] = append(r.known[s], o.content)
	}
}

// checkRead: a read that is answered OK is whole and true.
func (r *run) checkRead(o *op, data []byte, used uint32) {
	if used != uint32(len(data)+1) {
		r.wrong = append(r.wrong, fmt.Sprintf("%v: used %d bytes of %d", o, used, len(data)+1))
	}
	for i := range o.sectors {
		got := contentOf(data[i*sectorSize : (i+1)*sectorSize])
		if known := r.known[o.first+i]; !slices.Contains(known, got) {
			r.wrong = append(r.wrong, fmt.Sprintf("%v: sector %d reads %#x, expected one of %#x", o, o.first+i, uint64(got), known))
			return
		}
	}
}

// configWriteback is the offset of writeback in struct virtio_blk_config (virtio-v1.3 5.2.4).
const configWriteback = 32

// toggle changes the configuration, or takes note that a change has ended. Requests go on meanwhile.
func (r *run) toggle() (bool, error) {
	list := r.history.toggles
	if r.control != nil {
		select {
		case err := <-r.control:
			r.control = nil
			t := &list[len(list)-1]
			t.end, t.ok = r.clock.tick(), err == nil
			r.through = !t.writeback && (t.ok || r.through) // one that failed changed nothing
			if err != nil && r.fault.err == nil {
				return true, err
			}
			return true, nil
		default:
			return false, nil
		}
	}
	if !r.mode.toggles || r.ended >= r.requests || len(list) >= len(r.history.ops)/5 {
		return false, nil
	}
	t := toggle{begin: r.clock.tick(), writeback: r.dice.IntN(2) == 0}
	r.history.toggles = append(list, t)
	r.through = r.through && !t.writeback
	value := []byte{0}
	if t.writeback {
		value[0] = 1
	}
	told := make(chan error, 1)
	r.control = told
	go func() { told <- r.guest.dev.WriteConfig(value, configWriteback) }()
	return true, nil
}
