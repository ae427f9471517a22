package virtio

import (
	"runtime/debug"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// ErrClosed is the sticky error of a closed Queue that was not broken before.
var ErrClosed = errors.New("queue is closed")

// Queue is the device's side of one virtqueue. See the package comment for who may call.
//
//	Activate ──► idle ◄── SetEnabled ──► live ──► Stop ──► stopped ──► Close
//	               └────────── Break ──────┴──► broken ─────────────────┘
//
// Only a live queue fetches. Chains in flight are pushed and published in any state; a broken queue only forgets them.
type Queue struct {
	// What the data path asks first.
	live     bool // enabled, not stopped, not broken
	packed   bool // ring format: which of the next two is in use
	eventIdx bool
	indirect bool
	split    splitRing
	ring     packedRing
	inflight inflight
	lookup   guestmem.Lookup
	kicks    kickState
	notifier notifier
	log      ringLog
	err      error

	state queueState
}

// queueState is what the control path knows of a Queue.
type queueState struct {
	index    int
	size     uint32
	features Features
	at       addresses
	memory   *guestmem.Table
	kick     *sys.FD
	fresh    bool
	enabled  bool
	stopped  bool
	closed   bool
}

// Activate validates c as a whole and returns a queue that is not enabled yet. It retains c.Memory and takes the
// eventfds over; when it fails it does neither.
func Activate(c Config) (*Queue, error) {
	q, err := activate(c)
	if err != nil {
		return nil, errors.Wrapf(err, "queue %d", c.Index)
	}
	c.Memory.Retain()
	q.state.kick = own(c.Kick)
	q.notifier.call, q.notifier.errfd = own(c.Call), own(c.Err)
	return q, nil
}

// activate reads the rings and the in-flight record, under a guard of its own: the caller may be a session, which has none.
func activate(c Config) (*Queue, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	q := &Queue{
		packed:   c.Features.Has(FeatureRingPacked),
		eventIdx: c.Features.Has(FeatureEventIdx),
		indirect: c.Features.Has(FeatureIndirectDesc),
		notifier: notifier{onEmpty: c.Features.Has(FeatureNotifyOnEmpty)},
		log:      ringLog{dirty: c.Log, at: c.LogAt},
		state:    queueState{index: c.Index, size: c.Size, features: c.Features},
	}
	loaded := false
	defer func() {
		if !loaded {
			q.inflight.close()
		}
	}()
	err := q.load(&c)
	loaded = err == nil
	return q, err
}

func (q *Queue) load(c *Config) (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err := q.moveTo(c.Memory, addresses{desc: c.Desc, driver: c.Driver, device: c.Device}); err != nil {
		return err
	}
	if err := q.begin(c); err != nil {
		return err
	}
	q.logAll()
	q.state.fresh = q.packed && q.ring.untouched() || !q.packed && q.split.untouched()
	return nil
}

// own makes an owned descriptor of a number, nil of none.
func own(fd int) *sys.FD {
	if fd < 0 {
		return nil
	}
	return sys.NewFD(fd)
}

// moveTo finds the rings in m and takes them from there from now on. On an error nothing has changed.
func (q *Queue) moveTo(m *guestmem.Table, at addresses) error {
	p, err := at.locate(m, q.state.size, q.packed)
	if err != nil {
		return err
	}
	if q.packed {
		q.ring.place(p, q.state.size)
	} else {
		q.split.place(p, q.state.size)
	}
	q.lookup.Reset(m)
	q.log.desc = p.descGPA
	q.kicks = kicksUnknown
	q.state.memory, q.state.at = m, at
	return nil
}

// begin sets the ring's indices and takes over what the in-flight record says.
func (q *Queue) begin(c *Config) error {
	ids := q.state.size
	if q.packed {
		ids = 1 << 16 // a packed buffer id is any 16-bit number
	}
	q.inflight = newInflight(ids, q.state.size)
	addr, entries, err := q.inflight.mapRecord(c)
	switch {
	case err != nil:
		return err
	case q.packed:
		err = q.beginPacked(c, addr, entries)
	default:
		err = q.beginSplit(c, addr, entries)
	}
	q.settle()
	return err
}

// settle recomputes live. What a predecessor had fetched is served by a disabled queue too: it is no new work.
func (q *Queue) settle() {
	q.live = (q.state.enabled || q.Recovering()) && !q.state.stopped && q.err == nil
}

// Recovering tells whether Next has chains to return that a predecessor had fetched.
func (q *Queue) Recovering() bool { return len(q.inflight.recovered) > 0 }

// Live tells whether Next may return something: the queue is enabled or Recovering, not stopped, not broken.
func (q *Queue) Live() bool { return q.live }

// Next fetches the next available chain into c, which it overwrites. It returns false when there is none, or when the
// queue is not enabled. An error is sticky: a *ChainError that the driver caused just now, or what the queue was broken
// with.
func (q *Queue) Next(c *Chain) (bool, error) {
	if !q.live {
		return false, q.err
	}
	var ok bool
	var at uint16
	var r Reason
	c.reset()
	switch {
	case q.Recovering():
		ok = true
		at, r = q.fetchRecovered(c)
		q.settle()
	case q.packed:
		ok, at, r = q.fetchPacked(c)
	default:
		ok, at, r = q.fetchSplit(c)
	}
	if ok {
		crashpoint.Reach("request-recorded")
	}
	if r != reasonNone {
		q.Break(&ChainError{Head: at, Reason: r})
		return false, q.err
	}
	return ok, nil
}

// Push completes a chain of which the device wrote written bytes. The driver does not see it before Publish.
func (q *Queue) Push(t Token, written uint32) {
	crashpoint.Reach("request-done")
	q.inflight.complete(t) // first: should the ring be gone, the chain does not stay in flight
	switch {
	case q.err != nil: // the record keeps it: the driver will not hear of it from us
	case q.packed:
		q.ring.push(t, written)
		q.inflight.packed.push(t)
	default:
		q.split.push(t, written)
		q.inflight.split.push(t.ID)
	}
}

// Pending tells cheaply whether Next would find something.
func (q *Queue) Pending() bool {
	switch {
	case !q.live:
		return false
	case q.Recovering():
		return true
	case q.packed:
		return q.ring.pending()
	default:
		return q.split.pending()
	}
}

// Backlog is how many chains were seen to be available when the queue last looked and are not fetched: at least so many
// there are. A packed ring does not say.
func (q *Queue) Backlog() int {
	if q.packed {
		return 0
	}
	return int(q.split.availSeen - q.split.availIdx)
}

// InFlight is how many chains were fetched and not pushed.
func (q *Queue) InFlight() int { return q.inflight.count }

// SetEnabled lets the queue fetch or not. Chains in flight are not affected.
func (q *Queue) SetEnabled(on bool) {
	q.state.enabled = on
	q.settle()
}

// Enabled returns what SetEnabled said.
func (q *Queue) Enabled() bool { return q.state.enabled }

// Stop publishes what was pushed, ends fetching for good and returns where another can go on. Nothing may be in flight; a
// predecessor's chains that Next has not returned stay in the record. After that the queue writes no guest memory. When only the call fails, the base beside the error is valid.
func (q *Queue) Stop() (Base, error) {
	if n := q.InFlight(); n != 0 {
		return 0, errors.Errorf("queue %d: %d requests are in flight", q.state.index, n)
	}
	_, err := q.Publish()
	q.state.stopped = true
	q.settle()
	if q.packed {
		return packedBase(q.ring.avail, q.ring.used), err
	}
	return Base(q.split.availIdx), err
}

// Close gives eventfds and memory back. Idempotent. Requests in flight are the caller's: it keeps the memory table
// under which it fetched them until they have ended.
func (q *Queue) Close() error {
	if q.state.closed {
		return nil
	}
	q.state.closed = true
	if q.err == nil {
		q.err = ErrClosed
	}
	q.settle()
	q.log.dirty = nil
	q.lookup.Reset(nil)
	q.inflight.close()
	q.state.memory.Release()
	q.state.memory = nil
	err := q.state.kick.Close()
	for _, fd := range []*sys.FD{q.notifier.call, q.notifier.errfd} {
		if e := fd.Close(); err == nil {
			err = e
		}
	}
	q.notifier.call, q.notifier.errfd = nil, nil
	return err
}

// Break ends fetching for good because of err, which Next and Err return from now on, and signals the err eventfd. Only
// the first call counts.
func (q *Queue) Break(err error) {
	if q.err != nil || err == nil {
		return
	}
	q.err = err
	q.settle()
	q.notifier.failed()
}

// Fresh tells whether the ring was at its beginning, untouched by any device, when the queue was activated.
func (q *Queue) Fresh() bool { return q.state.fresh }

// Err returns what the queue was broken with, ErrClosed after Close, or nil.
func (q *Queue) Err() error { return q.err }

// KickFD returns the kick eventfd, -1 when there is none.
func (q *Queue) KickFD() int { return q.state.kick.Int() }

// Index returns the number of the queue.
func (q *Queue) Index() int { return q.state.index }

// Size returns the number of descriptors.
func (q *Queue) Size() int { return int(q.state.size) }

// Features returns what was negotiated when the queue was activated.
func (q *Queue) Features() Features { return q.state.features }

// Memory returns the table under which Next fetches. Whoever works on a chain longer than this queue keeps its memory
// retains it.
func (q *Queue) Memory() *guestmem.Table { return q.state.memory }

// SetMemory moves the queue to another memory table, which it retains. Chains in flight stay where they are. When the
// rings are not in there the queue is broken by the error that is returned, and keeps the old table.
func (q *Queue) SetMemory(m *guestmem.Table) error {
	if q.state.closed {
		return ErrClosed
	}
	old := q.state.memory
	if err := q.moveTo(m, q.state.at); err != nil {
		err = errors.Wrapf(err, "queue %d under a new memory table", q.state.index)
		q.Break(err)
		return err
	}
	m.Retain()
	old.Release()
	return nil
}

// SetAddresses moves the rings. On an error nothing has changed.
func (q *Queue) SetAddresses(desc, driver, device guestmem.FrontendVA) error {
	if q.state.closed {
		return ErrClosed
	}
	err := q.moveTo(q.state.memory, addresses{desc: desc, driver: driver, device: device})
	return errors.Wrapf(err, "queue %d", q.state.index)
}
