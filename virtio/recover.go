package virtio

import "github.com/pkg/errors"

// Recovery of a packed ring's record: the steps are those of vhost-user, "Inflight I/O tracking". Everything that is read
// here may have been written by somebody who wants us to loop, to write outside or to complete what is not there.

// load settles the batch that was cut off, and returns what is in flight and where the ring's used cursor is.
func (r *packedRecord) load(p *packedRing) (chains []recoveredChain, used cursor, err error) {
	a, b := load64(r.addr+recordWordA), load64(r.addr+recordWordB)
	free, oldFree := uint16(a>>32), uint16(a>>48)
	used = cursor{idx: uint32(uint16(b)), wrap: b>>32&1 != 0}
	old := cursor{idx: uint32(uint16(b >> 16)), wrap: b>>40&1 != 0}
	if used.idx >= p.size || old.idx >= p.size {
		return nil, used, errContradiction
	}
	if used != old && !p.available(old) { // the driver sees the batch: it counts
		oldFree, old = free, used
	}
	free, used = oldFree, old
	taken, err := r.walkFree(free)
	if err != nil {
		return nil, used, err
	}
	for i := range r.entries {
		if taken[i] || uint8(load64(r.entry(uint16(i)))) == 0 {
			continue
		}
		one, err := r.loadChain(uint16(i), p.size, taken)
		if err != nil {
			return nil, used, err
		}
		chains = append(chains, one)
	}
	r.reclaim(free, taken)
	// In this order: between the two the batch counts still, or was rolled back in both.
	store64(r.addr+recordWordA, r.wordA(r.free, r.free))
	store64(r.addr+recordWordB, recordCursors(used, used))
	return chains, used, nil
}

// walkFree follows the list of free entries and clears their inflight, which a fetch or a batch that was cut off has left
// set. It returns which they are.
func (r *packedRecord) walkFree(free uint16) (taken []bool, err error) {
	taken = make([]bool, r.entries)
	for i := free; uint32(i) < r.entries; i = r.next[i] {
		if taken[i] {
			return nil, errors.Wrap(errContradiction, "its free list is a loop")
		}
		taken[i] = true
		r.next[i] = uint16(load64(r.entry(i)) >> 16)
		store64(r.entry(i), link(false, r.next[i], 0, 0))
	}
	return taken, nil
}

// loadChain copies the chain that begins at entry first.
func (r *packedRecord) loadChain(first uint16, size uint32, taken []bool) (recoveredChain, error) {
	word := load64(r.entry(first))
	last, num := uint16(word>>32), uint16(word>>48)
	one := recoveredChain{counter: load64(r.entry(first) + 8), token: Token{Slots: num, Entry: first}}
	if num == 0 || uint32(num) > size {
		return one, errors.Wrapf(errContradiction, "a chain of %d descriptors", num)
	}
	at := first
	for n := range num {
		if uint32(at) >= r.entries || taken[at] || (n == num-1) != (at == last) {
			return one, errors.Wrap(errContradiction, "a chain leaves its entries")
		}
		taken[at] = true
		e := r.entry(at)
		meta := load64(e + 16)
		one.table = append(one.table, descriptor{addr: load64(e + 24), word: meta>>32 | meta<<32})
		r.next[at] = uint16(load64(e) >> 16)
		at = r.next[at]
	}
	r.last[first] = last
	one.token.ID = one.table[num-1].packedID()
	return one, nil
}

// reclaim puts entries that are on no list in front of the free ones. There are none after an orderly life.
func (r *packedRecord) reclaim(free uint16, taken []bool) {
	r.free = free
	for i := range r.entries {
		if !taken[i] {
			r.next[i] = r.free
			store64(r.entry(uint16(i)), link(false, r.free, 0, 0))
			r.free = uint16(i)
		}
	}
}

// available tells whether the descriptor at c is as the driver left it in that lap, not used.
func (r *packedRing) available(c cursor) bool {
	flags := load64(r.at(c)+8) >> 48
	if c.wrap {
		return flags&(packedAvail|packedUsed) == packedAvail
	}
	return flags&(packedAvail|packedUsed) == packedUsed
}

// scrub takes back used elements that a predecessor wrote behind the first one of a batch that it did not live to
// publish. Whole batches now begin elsewhere, and the driver must not find an old element behind a new one.
func (r *packedRing) scrub(n uint32) {
	for c := r.used; n > 0; n-- {
		addr := r.at(c) + 8
		if word := load64(addr); (word>>48&packedAvail != 0) == c.wrap && (word>>48&packedUsed != 0) == c.wrap {
			store64(addr, word^packedUsed<<48)
		}
		c = c.advanced(1, r.size)
	}
}
