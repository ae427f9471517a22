package virtiotest

import (
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
)

const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4
)

// splitRing is the driver's view of a split virtqueue (virtio-v1.3 2.7).
type splitRing struct {
	desc, avail, used uint64 // host addresses
	size              uint32
	eventIdx          bool

	free      []uint16 // free descriptors
	next      []uint16 // private copy of the links, which the device cannot change
	availIdx  uint16   // next to add
	published uint16   // what the device sees of it
	usedIdx   uint16   // next to reap
	usedSeen  uint16   // the device's index when last looked at
	fence     uint32
}

func (s *splitRing) reset(d *Driver, base uint16) {
	n := d.options.Size
	*s = splitRing{
		desc: d.memory.host(d.desc), avail: d.memory.host(d.driver), used: d.memory.host(d.device), size: n,
		eventIdx: d.options.Features.Has(virtio.FeatureEventIdx),
		free:     make([]uint16, 0, n), next: make([]uint16, n),
		availIdx: base, published: base, usedIdx: base, usedSeen: base,
	}
	for i := n; i > 0; i-- {
		s.free = append(s.free, uint16(i-1))
	}
	clear(d.memory.Bytes(d.desc, 16*uint64(n)))
	clear(d.memory.Bytes(d.driver, 6+2*uint64(n)))
	clear(d.memory.Bytes(d.device, 6+8*uint64(n)))
	store16(s.avail+2, base)
	store32(s.used, uint32(base)<<16)
	if s.eventIdx { // as after EnableCalls, and the device wants to be kicked for the first chain
		store16(s.usedEvent(), base)
		store32(s.availEvent(), uint32(base))
	}
}

func (s *splitRing) usedEvent() uint64  { return s.avail + 4 + 2*uint64(s.size) }
func (s *splitRing) availEvent() uint64 { return s.used + 4 + 8*uint64(s.size) }

// pop takes a free descriptor.
func (s *splitRing) pop() uint16 {
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return i
}

func splitDesc(addr uint64, gpa, n uint64, flags, next uint16) {
	put64(addr, gpa)
	put64(addr+8, n|uint64(flags)<<32|uint64(next)<<48)
}

// add writes descriptors and an entry of the available ring, which count when publish stores the index.
func (s *splitRing) add(d *Driver, r *Request) (id uint16, slots uint32, err error) {
	n := len(r.Readable) + len(r.Writable)
	direct := n
	if r.Indirect {
		direct = r.Direct
		slots = 1
	}
	slots += uint32(direct)
	if uint32(len(s.free)) < slots {
		return 0, 0, ErrFull
	}
	id = s.pop()
	for i, at := 0, id; i < int(slots); i++ {
		flags, next := uint16(0), uint16(0)
		if i+1 < int(slots) {
			flags, next = flagNext, s.pop()
			s.next[at] = next
		}
		where := s.desc + 16*uint64(at)
		if i < direct {
			area, write := r.area(i)
			splitDesc(where, uint64(area.GPA), uint64(area.Len), flags|write, next)
		} else {
			gpa, table := d.table(id)
			splitDesc(where, gpa, 16*uint64(n-direct), flags|flagIndirect, next)
			splitTable(table, r, direct)
		}
		at = next
	}
	s.setAvail(s.availIdx, id)
	s.availIdx++
	return id, slots, nil
}

func (s *splitRing) setAvail(idx, head uint16) {
	put16(s.avail+4+2*uint64(uint32(idx)&(s.size-1)), head)
}

// splitTable writes the areas of r from first on as an indirect table.
func splitTable(table uint64, r *Request, first int) {
	n := len(r.Readable) + len(r.Writable)
	for i := first; i < n; i++ {
		area, flags := r.area(i)
		if i+1 < n {
			flags |= flagNext
		}
		at := i - first
		splitDesc(table+16*uint64(at), uint64(area.GPA), uint64(area.Len), flags, uint16(at+1))
	}
}

// area returns area i of both lists and the flag that says which it is from.
func (r *Request) area(i int) (Area, uint16) {
	if i < len(r.Readable) {
		return r.Readable[i], 0
	}
	return r.Writable[i-len(r.Readable)], flagWrite
}

// publish stores the index and tells whether the device wants a kick.
func (s *splitRing) publish() (added, kick bool) {
	old := s.published
	if old == s.availIdx {
		return false, false
	}
	s.published = s.availIdx
	store16(s.avail+2, s.availIdx)
	if s.eventIdx {
		event := load16(s.availEvent())
		return true, s.availIdx-event-1 < s.availIdx-old
	}
	return true, load16(s.used)&1 == 0
}

func (s *splitRing) reap(d *Driver) (Completion, bool, error) {
	if s.usedIdx == s.usedSeen {
		s.usedSeen = load16(s.used + 2)
		if n := s.usedSeen - s.usedIdx; int(n) > d.out {
			return Completion{}, false, errors.Errorf("used index moved by %d with %d outstanding", n, d.out)
		}
		if s.usedIdx == s.usedSeen {
			return Completion{}, false, nil
		}
	}
	elem := s.used + 4 + 8*uint64(uint32(s.usedIdx)&(s.size-1))
	id, n := load32(elem), load32(elem+4)
	c, err := d.take(id, n)
	if err != nil {
		return Completion{}, false, err
	}
	for i, at := uint32(0), uint16(id); i < c.slots; i++ {
		s.free = append(s.free, at)
		at = s.next[at]
	}
	s.usedIdx++
	return Completion{ID: uint16(id), Len: n}, true, nil
}

func (s *splitRing) disableCalls() {
	if s.eventIdx {
		store16(s.usedEvent(), s.usedIdx+(1<<15))
	} else {
		store16(s.avail, 1)
	}
}

// enableCalls asks for a call with the next completion and tells whether there is one already.
func (s *splitRing) enableCalls() (pending bool) {
	if s.eventIdx {
		store16(s.usedEvent(), s.usedIdx)
	} else {
		store16(s.avail, 0)
	}
	atomic.SwapUint32(&s.fence, 0)
	return load16(s.used+2) != s.usedIdx
}
