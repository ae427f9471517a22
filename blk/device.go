package blk

import (
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Device is a virtio-blk device: it serves the queues of one front-end from one Disk, on the workers of a Pool. Its
// methods are what a transport (a vhost-user session) drives it by: one goroutine calls, apart from SetHeld, Resize and
// the like, which say so.
type Device struct {
	pool *Pool
	disk Disk
	opt  DeviceOptions

	// Where requests go: an inline Disk, a Disk of functions, or a descriptor.
	inline    InlineDisk
	functions *functions
	fd        int32
	// The Disk's units: of offsets and lengths (unit, offsetMask+1) and of memory addresses (memMask+1), bytes.
	unit                int64
	offsetMask, memMask uint64
	partial             bool // a request may cover units in part
	block               bool // the Disk is a block device
	syncAfter           bool // a write is made stable by an fdatasync, not by RWF_DSYNC
	inMemory            bool // nothing but memory stands behind the descriptor

	offered        virtio.Features
	ackedBits      atomic.Uint64
	capacity       atomic.Uint64 // sectors
	serial         [MaxSerial]byte
	writeback      atomic.Bool
	writebackKnown atomic.Bool // it is the power-on value of a fresh driver, or that driver's choice
	stable         atomic.Bool // writeThrough, decided anew with each change

	home      int32 // the worker where flushes and ranges of this device are decided
	homeIndex int32
	flush     flushState
	ranges    rangeLocks   // home only
	unsettled []unsettled  // by worker
	barriers  barrierQueue // home only
	gates     []gate       // by worker

	memo memo

	noPunchHole, noZeroRange atomic.Bool
	ioErrors                 atomic.Uint64

	mu     sync.Mutex
	table  *guestmem.Table
	queues []*queue         // by index; nil: not started
	counts []*queueCounters // by index, as far as queues were ever started
	held   bool
}

// NewDevice makes a device on disk. The Disk stays the caller's, who closes it after the device. An error says which option,
// or what in the Disk's Info, is wrong.
func (p *Pool) NewDevice(disk Disk, o DeviceOptions) (*Device, error) {
	info := disk.Info()
	o.setDefaults(info)
	if err := o.validate(info); err != nil {
		return nil, err
	}
	d := &Device{
		pool: p, disk: disk, opt: o, unit: int64(max(info.OffsetAlign, 1)), held: o.Held,
		queues: make([]*queue, o.NumQueues), unsettled: make([]unsettled, len(p.workers)), gates: make([]gate, len(p.workers)),
	}
	for i := range d.gates {
		d.gates[i].waiting = newSlotList()
	}
	d.flush.dirty = make([]padded, len(p.workers))
	switch k := disk.(type) {
	case InlineDisk:
		d.inline, d.fd = k, -1
	case RingDisk:
		d.fd = int32(k.FD())
	case FuncDisk:
		d.unit, info.MemAlign = 1, 1 // it is called with ordinary memory and any range
		d.functions, d.fd = newFunctions(k, p.opt.Slots*len(p.workers), defaultCalls), -1
	default:
		return nil, errors.Errorf("%s is neither an InlineDisk, a RingDisk nor a FuncDisk", info.Name)
	}
	d.offsetMask, d.memMask = uint64(d.unit-1), uint64(max(info.MemAlign, 1)-1)
	d.block, d.syncAfter, d.inMemory = info.Block, info.NoDsync || d.functions != nil, info.InMemory
	d.partial = d.unit > int64(o.LogicalBlockSize)
	d.offered = offer(&o, info)
	d.capacity.Store(uint64(info.Size) / SectorSize)
	copy(d.serial[:], o.Serial)
	d.powerOn()
	p.addHome(d)
	return d, nil
}

// Close ends a device, and stops the queues that still run. It returns the first error of that.
func (d *Device) Close() error {
	err := d.SetMemo(nil)
	if e := d.Reset(); e != nil {
		err = e
	}
	d.pool.removeHome(d)
	if d.functions != nil {
		d.functions.close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.table != nil {
		d.table.Release()
		d.table = nil
	}
	return err
}

func (d *Device) homeWorker() *worker { return d.pool.workers[d.home] }

// powerOn is the state of a device that no driver has touched.
func (d *Device) powerOn() {
	d.ackedBits.Store(0)
	d.writeback.Store(d.offered.Has(FeatureFlush))
	d.writebackKnown.Store(false)
	d.decideDurability()
}

// learnWriteback is asked when a queue starts whether the driver's choice of the cache mode can be known. A front-end
// that reconnects, and a migration's destination, start rings in the middle of their life and do not repeat the choice:
// then every write is made stable until the driver chooses anew.
func (d *Device) learnWriteback(fresh bool) {
	if d.writebackKnown.Load() || !d.acked().Has(FeatureConfigWCE) {
		return
	}
	if fresh {
		d.writebackKnown.Store(true)
		d.remember()
		return
	}
	if d.writeback.Swap(false) {
		d.decideDurability()
		d.opt.Log.Info("a ring goes on that this session did not begin: write-through, until the guest chooses its cache mode again")
	}
}

func (d *Device) decideDurability() { d.stable.Store(d.writeThrough()) }

func (d *Device) acked() virtio.Features { return virtio.Features(d.ackedBits.Load()) }

// Features returns the device's feature bits.
func (d *Device) Features() uint64 { return uint64(d.offered) }

// SetFeatures takes the driver's choice; it may come again while queues run. Bits that are not offered are honoured too:
// a front-end that reconnects repeats what an earlier process, with other options, had offered. The error is always nil.
func (d *Device) SetFeatures(acked uint64) error {
	d.ackedBits.Store(acked)
	d.decideDurability()
	return nil
}

// SetMemory makes all queues use memory table t and returns when each does. The old table stays mapped until the
// requests that were fetched under it have ended. The error is always nil: a queue whose rings are not in t is broken.
func (d *Device) SetMemory(t *guestmem.Table) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.Retain()
	if d.table != nil {
		d.table.Release()
	}
	d.table = t
	for _, q := range d.queues {
		if q != nil {
			q.w.do(func() { q.w.adopt(q, t) })
		}
	}
	return nil
}

// StartQueue begins to serve queue i. The device owns q from here on, also on an error: there is no queue i, it is started
// already, or SetMemory has not been called.
func (d *Device) StartQueue(i int, vq *virtio.Queue) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i < 0 || i >= len(d.queues) || d.queues[i] != nil || d.table == nil {
		_ = vq.Close()
		return errors.Errorf("queue %d of %d cannot start: no such queue, no memory, or started already", i, len(d.queues))
	}
	w := d.pool.workers[(int(d.home)+i)%len(d.pool.workers)]
	d.learnWriteback(vq.Fresh())
	q := &queue{vq: vq, dev: d, w: w, index: i, held: d.held, gen: newGeneration(d.table), count: d.counters(i)}
	d.queues[i] = q
	w.do(func() { w.addQueue(q) })
	d.opt.Log.Debug("queue placed", "queue", i, "worker", w.id)
	return nil
}

// UpdateQueue runs f on the goroutine that owns queue i, and looks at the queue again afterwards. An error says that the
// queue is not started, and f did not run.
func (d *Device) UpdateQueue(i int, f func(*virtio.Queue)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queue(i)
	if q == nil {
		return errors.Errorf("queue %d is not started", i)
	}
	q.w.do(func() { q.w.update(q, f) })
	return nil
}

func (d *Device) queue(i int) *queue {
	if i < 0 || i >= len(d.queues) {
		return nil
	}
	return d.queues[i]
}

// StopQueue ends the service of queue i and returns where it stopped, when none of its requests is in flight any more: a Disk
// that hangs makes it wait. An error says that the queue is not started, or that its driver could not be called.
func (d *Device) StopQueue(i int) (virtio.Base, error) {
	told := make(chan stopResult, 1)
	d.mu.Lock()
	q := d.queue(i)
	if q != nil {
		q.w.do(func() { q.w.stopQueue(q, told) })
	}
	d.mu.Unlock()
	if q == nil {
		return 0, errors.Errorf("queue %d is not started", i)
	}
	r := <-told // without the mutex: a hung disk must not hide what is in flight
	d.mu.Lock()
	d.queues[i] = nil
	d.mu.Unlock()
	if err := q.vq.Close(); r.err == nil {
		r.err = err
	}
	return r.base, r.err
}

// Reset stops all queues and puts the device into the state of power-on. The memory table stays. It returns the first
// error of StopQueue.
func (d *Device) Reset() error {
	var first error
	for i := range d.opt.NumQueues {
		d.mu.Lock()
		started := d.queues[i] != nil
		d.mu.Unlock()
		if !started {
			continue
		}
		if _, err := d.StopQueue(i); err != nil && first == nil {
			first = err
		}
	}
	d.powerOn()
	d.remember()
	return first
}

// Flush makes stable what has completed. Any goroutine may call it; it blocks. A device that is held has nothing to
// flush, and no right to. An error says that an fdatasync has failed, now or, with FlushErrorSticky, earlier.
func (d *Device) Flush() error {
	if d.opt.ReadOnly || d.inline != nil || d.opt.Cache == CacheUnsafe {
		return nil
	}
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held {
		return nil
	}
	told := make(chan byte, 1)
	home := d.homeWorker()
	// At home, like every other flush: two at a time would share one report of an error between them.
	home.do(func() {
		target := d.modified()
		if !d.flush.failed.Load() && d.flush.flushed.Load() >= target {
			told <- statusOK
			return
		}
		home.joinFlush(d, flushWaiter{target: target, told: told})
	})
	select {
	case status := <-told:
		if status != statusOK {
			return errors.Errorf("fdatasync of %s failed, now or earlier: writes may be lost", d.disk.Info().Name)
		}
		return nil
	case <-d.pool.ended[home.id]:
		return errors.Errorf("%s was not flushed: its workers have ended", d.disk.Info().Name)
	}
}

// SetHeld holds all queues, those that start later included, or lets them go. A held queue is started and not served: a
// migration's destination is before it owns the Disk. Any goroutine may call it.
func (d *Device) SetHeld(held bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = held
	for _, q := range d.queues {
		if q == nil {
			continue
		}
		q.w.do(func() {
			q.held = held
			q.w.heat(q)
		})
	}
}
