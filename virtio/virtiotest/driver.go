package virtiotest

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// ErrFull tells that the ring has no room for a chain.
var ErrFull = errors.New("no free descriptors")

// Options describes a virtqueue.
type Options struct {
	Index    int
	Size     uint32
	Features virtio.Features // ring format, INDIRECT_DESC, EVENT_IDX as negotiated
	Base     virtio.Base     // where both sides begin; 0 is where a new ring begins, in packed rings too
	TableLen int             // entries that each indirect table has room for; 0: 32
	Region   int             // of the memory, for the rings
	// AvailPad misplaces the available ring by that many bytes: 2 is legal and unusual.
	AvailPad uint64
}

// Area is a buffer in guest memory.
type Area struct {
	GPA guestmem.GPA
	Len uint32
}

// Request is what one chain consists of, one descriptor per area.
type Request struct {
	Readable, Writable []Area
	Indirect           bool
	// Direct is how many areas stand in front of the table as descriptors of the ring (split rings only).
	Direct int
}

// Completion is what the device returned.
type Completion struct {
	ID  uint16 // what Add returned
	Len uint32
}

// Driver is the driver's side of a virtqueue.
type Driver struct {
	memory  *Memory
	options Options
	desc    guestmem.GPA // descriptor table or ring
	driver  guestmem.GPA // available ring or driver event suppression
	device  guestmem.GPA // used ring or device event suppression
	tables  guestmem.GPA // indirect tables, one per id
	table0  uint64       // their host address

	packed bool
	split  splitRing
	ring   packedRing
	chains []chain // by id
	out    int

	kick, call, errfd *sys.FD
}

// chain is what we remember of a chain until it comes back.
type chain struct {
	writable uint64
	slots    uint32 // descriptors of the ring
	busy     bool
}

// NewDriver allocates rings in m and makes eventfds.
func NewDriver(m *Memory, o Options) (*Driver, error) {
	d := &Driver{memory: m, options: o, packed: o.Features.Has(virtio.FeatureRingPacked)}
	if d.options.TableLen == 0 {
		d.options.TableLen = 32
	}
	if err := d.allocate(); err != nil {
		return nil, err
	}
	for _, fd := range []**sys.FD{&d.kick, &d.call, &d.errfd} {
		var err error
		if *fd, err = sys.EventFD(); err != nil {
			_ = d.Close()
			return nil, err
		}
	}
	d.Reset(o.Base)
	return d, nil
}

// sizes returns the extents of the three parts.
func (d *Driver) sizes() [3]uint64 {
	n := uint64(d.options.Size)
	if d.packed {
		return [3]uint64{16 * n, 4, 4}
	}
	return [3]uint64{16 * n, 6 + 2*n, 6 + 8*n}
}

func (d *Driver) allocate() error {
	sizes := d.sizes()
	pads := [3]uint64{}
	if !d.packed {
		pads[1] = d.options.AvailPad
	}
	var err error
	for i, gpa := range []*guestmem.GPA{&d.desc, &d.driver, &d.device} {
		if *gpa, err = d.memory.AllocIn(d.options.Region, sizes[i]+pads[i], 16); err != nil {
			return err
		}
		*gpa += guestmem.GPA(pads[i])
	}
	if d.options.Features.Has(virtio.FeatureIndirectDesc) {
		n := uint64(d.options.Size) * uint64(d.options.TableLen) * 16
		if d.tables, err = d.memory.AllocIn(d.options.Region, n, 16); err != nil {
			return err
		}
		d.table0 = d.memory.host(d.tables)
	}
	return nil
}

// Reset clears the rings and forgets what was outstanding, as a guest does when it resets the device.
func (d *Driver) Reset(base virtio.Base) {
	if d.packed && base == 0 {
		base = 1<<15 | 1<<31 // both wrap counters begin with 1 (virtio-v1.3 2.8.1)
	}
	d.options.Base = base
	d.chains = make([]chain, d.options.Size)
	d.out = 0
	if d.packed {
		d.ring.reset(d, base)
	} else {
		d.split.reset(d, uint16(base))
	}
}

// Close closes the eventfds. The memory is not the driver's.
func (d *Driver) Close() error {
	var first error
	for _, fd := range []*sys.FD{d.kick, d.call, d.errfd} {
		if err := fd.Close(); first == nil {
			first = err
		}
	}
	return first
}

// Add builds a chain that the device does not see before Publish, and returns the id with which it will come back:
// smaller than the size of the queue, and nobody else's until then. ErrFull tells that there is no room.
func (d *Driver) Add(r Request) (uint16, error) { return d.AddRequest(&r) }

// AddRequest is Add for a load generator, whose requests are made before, and to which copies of them would count.
func (d *Driver) AddRequest(r *Request) (uint16, error) {
	n := len(r.Readable) + len(r.Writable)
	switch {
	case n == 0:
		return 0, errors.New("a chain without areas")
	case r.Indirect && d.table0 == 0:
		return 0, errors.New("INDIRECT_DESC is not among the features")
	case r.Indirect && (r.Direct >= n || n-r.Direct > d.options.TableLen):
		return 0, errors.Errorf("%d areas, %d of them direct, and tables of %d", n, r.Direct, d.options.TableLen)
	}
	var id uint16
	var slots uint32
	var err error
	if d.packed {
		id, slots, err = d.ring.add(d, r)
	} else {
		id, slots, err = d.split.add(d, r)
	}
	if err != nil {
		return 0, err
	}
	c := &d.chains[id]
	*c = chain{slots: slots, busy: true}
	for _, a := range r.Writable {
		c.writable += uint64(a.Len)
	}
	d.out++
	return id, nil
}

// table returns where the guest and we see the indirect table of id.
func (d *Driver) table(id uint16) (gpa, host uint64) {
	off := 16 * uint64(d.options.TableLen) * uint64(id)
	return uint64(d.tables) + off, d.table0 + off
}

// Reap returns the next completed chain, if there is one. An error tells what the device did wrong.
func (d *Driver) Reap() (Completion, bool, error) {
	if d.packed {
		return d.ring.reap(d)
	}
	return d.split.reap(d)
}

// take checks a completion and frees the chain's record.
func (d *Driver) take(id uint32, n uint32) (chain, error) {
	if id >= uint32(len(d.chains)) || !d.chains[id].busy {
		return chain{}, errors.Errorf("used id %d (len %d) is not outstanding", id, n)
	}
	c := d.chains[id]
	if uint64(n) > c.writable {
		return chain{}, errors.Errorf("used id %d: %d bytes written of %d", id, n, c.writable)
	}
	d.chains[id].busy = false
	d.out--
	return c, nil
}

// Outstanding is how many chains were added and not reaped.
func (d *Driver) Outstanding() int { return d.out }

// Free is how many descriptors of the ring are not in use.
func (d *Driver) Free() int {
	if d.packed {
		return int(d.ring.free)
	}
	return len(d.split.free)
}

// Size returns the number of descriptors.
func (d *Driver) Size() int { return int(d.options.Size) }

// Memory returns what the driver lives in.
func (d *Driver) Memory() *Memory { return d.memory }

// Addresses returns where the rings are, as SET_VRING_ADDR says it: descriptor table, available ring, used ring, or
// descriptor ring, driver and device event suppression.
func (d *Driver) Addresses() (desc, driver, device guestmem.FrontendVA) {
	return d.memory.VA(d.desc), d.memory.VA(d.driver), d.memory.VA(d.device)
}

// Base returns where the device begins.
func (d *Driver) Base() virtio.Base { return d.options.Base }

// Config describes the queue for virtio.Activate, with duplicated eventfds that the caller owns.
func (d *Driver) Config(t *guestmem.Table) (virtio.Config, error) {
	c := virtio.Config{
		Index: d.options.Index, Size: d.options.Size, Features: d.options.Features, Base: d.options.Base, Memory: t,
		Kick: -1, Call: -1, Err: -1,
	}
	c.Desc, c.Driver, c.Device = d.Addresses()
	to := [3]*int{&c.Kick, &c.Call, &c.Err}
	for i, from := range [3]*sys.FD{d.kick, d.call, d.errfd} {
		dup, err := from.Dup()
		if err != nil {
			closeFDs(c)
			return c, err
		}
		*to[i] = dup.Disown()
	}
	return c, nil
}

// Activate makes the device's side of the queue, enabled.
func (d *Driver) Activate(t *guestmem.Table) (*virtio.Queue, error) {
	c, err := d.Config(t)
	if err != nil {
		return nil, err
	}
	q, err := virtio.Activate(c)
	if err != nil {
		closeFDs(c)
		return nil, err
	}
	q.SetEnabled(true)
	return q, nil
}

func closeFDs(c virtio.Config) {
	for _, fd := range []int{c.Kick, c.Call, c.Err} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
