package virtio

import "github.com/vublk/vublk/internal/crashpoint"

// Layout of the available ring (virtio-v1.3 2.7.6) and of the used ring (2.7.8).
const (
	availIndex = 2 // offset of idx; flags come first
	availRing  = 4
	availEntry = 2
	usedRing   = 4 // flags and idx share the word in front
	usedEntry  = 8
)

// splitRing is the private view of a split virtqueue. Indices are free-running 16-bit numbers.
type splitRing struct {
	desc, avail, used uint64 // host addresses
	size              uint32

	availIdx  uint16 // next to fetch
	availSeen uint16 // the driver's index when last looked at, so that a batch loads it once
	usedIdx   uint16 // next to push
	published uint16 // what the driver sees of it
	usedFlags uint16 // what the driver sees of flags
}

func (r *splitRing) place(p places, size uint32) {
	r.desc, r.avail, r.used, r.size = p.desc, p.driver, p.device, size
	r.availSeen = r.availIdx // look again, this may be another ring
}

// begin continues at b. What was used before is in the ring itself, where the driver sees it: the base holds only the
// available index.
func (r *splitRing) begin(b Base) error {
	idx, err := b.splitIndex()
	if err != nil {
		return err
	}
	r.availIdx, r.availSeen = idx, idx
	word := load32(r.used)
	r.usedFlags = uint16(word)
	r.usedIdx = uint16(word >> 16)
	r.published = r.usedIdx
	return nil
}

// untouched tells whether no device has ever used the ring. Its indices alone look so after each 65536 chains, but a used
// element is hardly ever all zero: a completed request has a length.
func (r *splitRing) untouched() bool {
	if r.availIdx != 0 || r.usedIdx != 0 {
		return false
	}
	for i := range uint64(r.size) {
		if load32(r.used+usedRing+usedEntry*i) != 0 || load32(r.used+usedRing+usedEntry*i+4) != 0 {
			return false
		}
	}
	return true
}

func (r *splitRing) slot(idx uint16) uint64 { return uint64(uint32(idx) & (r.size - 1)) }

// usedEvent is the address of the index that the driver wants to be called at (2.7.7.2).
func (r *splitRing) usedEvent() uint64 { return r.avail + availRing + availEntry*uint64(r.size) }

// availEvent is the address of the index that we want to be kicked at (2.7.10).
func (r *splitRing) availEvent() uint64 { return r.used + usedRing + usedEntry*uint64(r.size) }

func (r *splitRing) pending() bool {
	return r.availIdx != r.availSeen || load16(r.avail+availIndex) != r.availIdx
}

// look loads the driver's index and tells whether there is something new.
func (r *splitRing) look() (bool, Reason) {
	idx := load16(r.avail + availIndex)
	if uint32(idx-r.availIdx) > r.size {
		return false, ReasonAvailJump
	}
	r.availSeen = idx
	return idx != r.availIdx, reasonNone
}

// fetchSplit is Next for split rings. It changes nothing but c and availSeen before the chain is known to be good.
func (q *Queue) fetchSplit(c *Chain) (ok bool, at uint16, r Reason) {
	s := &q.split
	if s.availIdx == s.availSeen {
		if ok, r := s.look(); !ok {
			return false, s.availIdx, r
		}
	}
	head := load16(s.avail + availRing + availEntry*s.slot(s.availIdx))
	if uint32(head) >= s.size {
		return false, head, ReasonHeadRange
	}
	if r := q.walkSplit(c, head); r != reasonNone {
		return false, head, r
	}
	t := Token{ID: head, Slots: 1}
	if r := c.finish(t); r != reasonNone {
		return false, head, r
	}
	if r := q.inflight.admit(t); r != reasonNone {
		return false, head, r
	}
	q.inflight.count++
	q.inflight.split.fetch(head, q.inflight.counter)
	q.inflight.counter++
	s.availIdx++
	return true, head, reasonNone
}

// walkSplit collects the chain that begins at head: direct descriptors, the last of which may be a table (2.7.5.3.2).
func (q *Queue) walkSplit(c *Chain, head uint16) Reason {
	s := &q.split
	next := uint32(head)
	for left := s.size; left > 0; left-- {
		if next >= s.size {
			return ReasonNextRange
		}
		d := loadDescriptor(s.desc + descriptorSize*uint64(next))
		flags := d.splitFlags()
		if flags&descIndirect != 0 {
			return q.walkSplitTable(c, d)
		}
		if r := c.add(&q.lookup, d.addr, d.length(), flags&descWrite != 0); r != reasonNone {
			return r
		}
		if flags&descNext == 0 {
			return reasonNone
		}
		next = uint32(d.splitNext())
	}
	return ReasonChainLength
}

func (q *Queue) walkSplitTable(c *Chain, d descriptor) Reason {
	switch {
	case !q.indirect:
		return ReasonIndirectUnsupported
	case d.splitFlags()&descNext != 0:
		return ReasonIndirectNext
	}
	table, r := c.loadTable(&q.lookup, d.addr, d.length())
	if r != reasonNone {
		return r
	}
	next := 0
	for range table {
		if next >= len(table) {
			return ReasonNextRange
		}
		d := table[next]
		flags := d.splitFlags()
		if flags&descIndirect != 0 {
			return ReasonIndirectNested
		}
		if r := c.add(&q.lookup, d.addr, d.length(), flags&descWrite != 0); r != reasonNone {
			return r
		}
		if flags&descNext == 0 {
			return reasonNone
		}
		next = int(d.splitNext())
	}
	return ReasonChainLength
}

// push writes a used element (2.7.8) behind what the driver sees.
func (r *splitRing) push(t Token, written uint32) {
	elem := r.used + usedRing + usedEntry*r.slot(r.usedIdx)
	put32(elem, uint32(t.ID))
	put32(elem+4, written)
	r.usedIdx++
}

// publish makes the pushed elements visible, in step with the record, and returns the index before.
func (r *splitRing) publish(record *splitRecord) (old uint16) {
	old = r.published
	r.published = r.usedIdx
	record.announce(old)
	crashpoint.Reach("batch-announced")
	r.storeUsed()
	crashpoint.Reach("batch-published")
	record.settle(r.published)
	crashpoint.Reach("batch-settled")
	return old
}

// storeUsed stores flags and index of the used ring: both are ours, and one aligned word.
func (r *splitRing) storeUsed() {
	store32(r.used, uint32(r.usedFlags)|uint32(r.published)<<16)
}
