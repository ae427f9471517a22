package virtio

import "github.com/pkg/errors"

// splitRecord is the record of a split ring. It begins with a header,
//
//	u64 features · u16 version · u16 desc_num · u16 last_batch_head · u16 used_idx
//
// of which the second half is one doubleword here, and has for each head
//
//	u8 inflight · u8 pad[5] · u16 next · u64 counter
//
// A fetch stores the counter, then inflight. A batch of completions is
//
//	used elements ─► the batch as a list (next, last_batch_head) ─► the ring's used index ─► inflight = 0 ─► used_idx
//
// so that, when used_idx is behind the ring's, the list names those whose inflight may still be set.
//
// Its stores are plain. A kill stops a process between two of its instructions, all that came before is done, and nobody
// looks at the record until then: only the order of the instructions counts, not the one in which other CPUs could see
// the stores. An atomic store for each chain would cost a drain of the store buffer, in the middle of cache misses.
type splitRecord struct {
	addr    uint64
	entries uint32
	last    uint16   // head of the list that the shared one will have
	batch   []uint16 // heads pushed and not published: the record is not believed for it
}

func (r *splitRecord) entry(head uint16) uint64 {
	return r.addr + splitRecordHead + splitRecordEntry*uint64(head)
}

// head composes the second half of the header.
func (r *splitRecord) head(used uint16) uint64 {
	return recordVersion | uint64(uint16(r.entries))<<16 | uint64(r.last)<<32 | uint64(used)<<48
}

func (r *splitRecord) fetch(head uint16, counter uint64) {
	e := r.entry(head)
	put64(e+8, counter)
	put32(e, 1) // a word that ends before next
}

// push links a head into the batch.
func (r *splitRecord) push(head uint16) {
	put64(r.entry(head), 1|uint64(r.last)<<48)
	r.last = head
	r.batch = append(r.batch, head) // never more than the ring has heads
}

// announce comes before the ring's used index moves on from used. The store of that index publishes this one.
func (r *splitRecord) announce(used uint16) { put64(r.addr+recordWordA, r.head(used)) }

// settle comes after the ring's used index has moved to used.
func (r *splitRecord) settle(used uint16) {
	for _, head := range r.batch {
		put32(r.entry(head), 0) // the list stays, for whoever has to clear the rest
	}
	r.batch = r.batch[:0]
	put64(r.addr+recordWordA, r.head(used))
}

// errContradiction tells that a record with chains in flight is not the one of this ring.
var errContradiction = errors.New("in-flight record contradicts the ring")

// beginSplit sets the indices: by the record when it has a past, and by the base when it is fresh.
func (q *Queue) beginSplit(c *Config, addr uint64, entries uint32) error {
	q.inflight.split = splitRecord{addr: addr, entries: entries, batch: make([]uint16, 0, q.state.size)}
	if err := q.split.begin(c.Base); err != nil {
		return err
	}
	s, r := &q.split, &q.inflight.split
	word := load64(addr + recordWordA)
	if uint16(word) == 0 {
		r.format(s.usedIdx)
		return nil
	}
	chains, ok := r.load(word, s.usedIdx, s.size)
	switch {
	case !ok && len(chains) == 0:
		r.format(s.usedIdx) // of a ring that was there before this one
		return nil
	case !ok:
		return errContradiction
	}
	// Heads are noted in the order of the available ring, so those that are not in the used one are its next.
	s.availIdx = s.usedIdx + uint16(len(chains))
	s.availSeen = s.availIdx
	return q.inflight.adopt(chains)
}

// format makes a record of a ring with nothing in flight. Its version comes last.
func (r *splitRecord) format(used uint16) {
	for head := range r.entries {
		put64(r.entry(uint16(head)), 0)
	}
	store64(r.addr+recordWordA, r.head(used))
}

// load clears the batch whose completion was cut off after the ring's used index was stored, and returns what is still in
// flight. ok tells whether record and ring belong together.
func (r *splitRecord) load(word uint64, used uint16, size uint32) (chains []recoveredChain, ok bool) {
	behind := used - uint16(word>>48)
	r.last = uint16(word >> 32)
	if ok = uint32(behind) <= size; ok {
		for head := r.last; behind > 0; behind-- {
			if uint32(head) >= size {
				ok = false
				break
			}
			next := uint16(load64(r.entry(head)) >> 48)
			store32(r.entry(head), 0)
			head = next
		}
	}
	for head := range size {
		e := r.entry(uint16(head))
		if uint8(load64(e)) != 0 {
			chains = append(chains, recoveredChain{token: Token{ID: uint16(head), Slots: 1}, counter: load64(e + 8)})
		}
	}
	if r.last = uint16(uint32(r.last) % size); ok {
		store64(r.addr+recordWordA, r.head(used))
	}
	return chains, ok
}
