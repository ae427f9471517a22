package virtio

import "github.com/vublk/vublk/internal/crashpoint"

// Availability of a descriptor (virtio-v1.3 2.8.1): the driver sets AVAIL to its wrap counter and USED to the inverse,
// the device sets both to its own.
const (
	packedAvail = 1 << 7
	packedUsed  = 1 << 15
)

// packedRing is the private view of a packed virtqueue.
type packedRing struct {
	desc, driver, device uint64 // host addresses
	size                 uint32

	avail cursor // next to fetch
	used  cursor // next to push

	// The first unpublished used element is kept back: when its flags appear, those behind it must be there.
	firstAddr uint64 // of its second word, 0 when nothing is unpublished
	firstWord uint64
	began     cursor // used, before the batch
	batch     uint32 // descriptors pushed since the last publish
}

func (r *packedRing) place(p places, size uint32) {
	if r.firstAddr != 0 {
		r.firstAddr += p.desc - r.desc
	}
	r.desc, r.driver, r.device, r.size = p.desc, p.driver, p.device, size
}

// begin continues at b. It returns how many descriptors were fetched and not used before, if any: they stay taken.
func (r *packedRing) begin(b Base) (lost uint32, err error) {
	r.avail, r.used, lost, err = b.packedCursors(r.size)
	return lost, err
}

// untouched tells whether no device has ever used the ring. Its cursors alone look so after each second round, but then
// descriptors are there that are neither empty nor made available in the first round.
func (r *packedRing) untouched() bool {
	first := cursor{wrap: true}
	if r.avail != first || r.used != first {
		return false
	}
	for c := range r.size {
		addr := r.at(cursor{idx: c})
		word := load64(addr + 8)
		empty := word == 0 && load64(addr) == 0
		if !empty && (word>>48)&(packedAvail|packedUsed) != packedAvail {
			return false
		}
	}
	return true
}

func (r *packedRing) at(c cursor) uint64 { return r.desc + descriptorSize*uint64(c.idx) }

// pending tells whether the descriptor at the available cursor is ours.
func (r *packedRing) pending() bool {
	return r.available(r.avail)
}

// fetchPacked is Next for packed rings. It changes nothing but c before the chain is known to be good.
func (q *Queue) fetchPacked(c *Chain) (ok bool, at uint16, r Reason) {
	p := &q.ring
	at = uint16(p.avail.idx)
	if !p.pending() {
		return false, at, reasonNone
	}
	id, slots, r := q.walkPacked(c)
	if r != reasonNone {
		return false, at, r
	}
	t := Token{ID: id, Slots: uint16(slots)}
	if r := c.finish(t); r != reasonNone {
		return false, at, r
	}
	if r := q.inflight.admit(t); r != reasonNone {
		return false, at, r
	}
	q.inflight.count++
	t.Entry = q.inflight.packed.commit(t.Slots, q.inflight.counter)
	q.inflight.counter++
	c.Token = t
	p.avail = p.avail.advanced(slots, p.size)
	return true, at, reasonNone
}

// walkPacked collects the chain at the available cursor. The first descriptor is loaded only now, after pending has
// seen its flags: what the driver wrote before them is visible. The last one holds the buffer id (2.8.6).
func (q *Queue) walkPacked(c *Chain) (id uint16, slots uint32, r Reason) {
	p, record := &q.ring, &q.inflight.packed
	record.begin()
	room := p.size - min(q.inflight.slots+p.batch, p.size) // as many entries of the record are free, at least
	for pos := p.avail; slots < room; pos = pos.advanced(1, p.size) {
		d := loadDescriptor(p.at(pos))
		record.stage(d)
		slots++
		if more, r := q.addPacked(c, d, slots); !more {
			return d.packedID(), slots, r
		}
	}
	if room < p.size {
		return 0, 0, ReasonOverrun
	}
	return 0, 0, ReasonChainLength
}

// addPacked adds the nth descriptor of a chain. It returns whether there is another.
func (q *Queue) addPacked(c *Chain, d descriptor, nth uint32) (more bool, r Reason) {
	flags := d.packedFlags()
	if flags&descIndirect != 0 {
		if nth > 1 || flags&descNext != 0 {
			return false, ReasonIndirectNext // no table behind direct descriptors here (2.8.19)
		}
		return false, q.walkPackedTable(c, d)
	}
	if r := c.add(&q.lookup, d.addr, d.length(), flags&descWrite != 0); r != reasonNone {
		return false, r
	}
	return flags&descNext != 0, reasonNone
}

// walkTable collects a chain whose descriptors were copied out of the ring before.
func (q *Queue) walkTable(c *Chain, table []descriptor) Reason {
	for i, d := range table {
		more, r := q.addPacked(c, d, uint32(i+1))
		switch {
		case r != reasonNone:
			return r
		case more != (i+1 < len(table)):
			return ReasonChainLength
		}
	}
	return reasonNone
}

// walkPackedTable collects an indirect table (2.8.7): all its entries in order, WRITE is the only flag.
func (q *Queue) walkPackedTable(c *Chain, d descriptor) Reason {
	if !q.indirect {
		return ReasonIndirectUnsupported
	}
	table, r := c.loadTable(&q.lookup, d.addr, d.length())
	if r != reasonNone {
		return r
	}
	for _, d := range table {
		flags := d.packedFlags()
		if flags&descIndirect != 0 {
			return ReasonIndirectNested
		}
		if r := c.add(&q.lookup, d.addr, d.length(), flags&descWrite != 0); r != reasonNone {
			return r
		}
	}
	return reasonNone
}

// push writes a used descriptor (2.8.4) over the first of as many as the chain had, unless it is the first one of a
// batch, which publish writes.
func (r *packedRing) push(t Token, written uint32) {
	word := uint64(written) | uint64(t.ID)<<32
	if written > 0 {
		word |= descWrite << 48 // len is valid (2.8.4)
	}
	if r.used.wrap {
		word |= (packedAvail | packedUsed) << 48
	}
	if addr := r.at(r.used) + 8; r.firstAddr == 0 {
		r.firstAddr, r.firstWord, r.began = addr, word, r.used
	} else {
		put64(addr, word)
	}
	r.batch += uint32(t.Slots)
	r.used = r.used.advanced(uint32(t.Slots), r.size)
}

// publish makes the pushed elements visible, the first one last, in step with the record. It returns how many descriptors
// they stand for.
func (r *packedRing) publish(record *packedRecord) (batch uint32) {
	record.announce(r.used, r.began)
	crashpoint.Reach("batch-announced")
	store64(r.firstAddr, r.firstWord)
	crashpoint.Reach("batch-published")
	record.settle(r.used)
	crashpoint.Reach("batch-settled")
	batch = r.batch
	r.firstAddr, r.batch = 0, 0
	return batch
}
