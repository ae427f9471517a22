package virtio

// packedRecord is the record of a packed ring. A used element overwrites the descriptors of another chain, so the record
// keeps copies. It begins with a header,
//
//	u64 features · u16 version · u16 desc_num · u16 free_head · u16 old_free_head ·
//	u16 used_idx · u16 old_used_idx · u8 used_wrap · u8 old_used_wrap · u8 pad[10]
//
// of which the second and third doublewords are "A" and "B" here, and has entries
//
//	u8 inflight · u8 pad · u16 next · u16 last · u16 num · u64 counter · u16 id · u16 flags · u32 len · u64 addr
//
// one for each descriptor of a chain, linked by next; the first one says how many (num) and which is the last. Entries
// that no chain has are linked too, from free_head on. A fetch copies descriptors into free entries, fills in the first
// one, and then takes them off the list with one store of A. A batch of completions is
//
//	used elements, all but the first ─► entries back on the list, A and B with the old values kept ─► the first used
//	element's flags ─► inflight = 0 ─► old values = current ones
//
// so that the flags in the ring tell whether a batch that was cut off counts. Its stores are plain, see splitRecord.
type packedRecord struct {
	addr    uint64
	entries uint32

	// The private book; the shared one is not believed.
	next  []uint16 // of each entry
	free  uint16   // first free entry
	last  []uint16 // of each chain, by its first entry
	batch []pushed // pushed and not published

	staged uint16 // the free entry after those that a fetch has filled so far
	tail   uint16 // the last of those
}

// pushed is what publish needs of a completed chain.
type pushed struct{ entry, slots uint16 }

func (r *packedRecord) entry(i uint16) uint64 {
	return r.addr + packedRecordHead + packedRecordEntry*uint64(i)
}

func (r *packedRecord) wordA(free, oldFree uint16) uint64 {
	return recordVersion | uint64(uint16(r.entries))<<16 | uint64(free)<<32 | uint64(oldFree)<<48
}

func recordCursors(used, old cursor) uint64 {
	return uint64(uint16(used.idx)) | uint64(uint16(old.idx))<<16 | bit(used.wrap)<<32 | bit(old.wrap)<<40
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// link composes the first doubleword of an entry.
func link(inFlight bool, next, last, num uint16) uint64 {
	return bit(inFlight) | uint64(next)<<16 | uint64(last)<<32 | uint64(num)<<48
}

// begin is the begin of a fetch.
func (r *packedRecord) begin() { r.staged = r.free }

// stage copies a descriptor into the next free entry. Nobody looks at it before commit.
func (r *packedRecord) stage(d descriptor) {
	e := r.entry(r.staged)
	// A descriptor's second word is len, id, flags; an entry has id, flags, len.
	put64(e+16, d.word>>32|d.word<<32)
	put64(e+24, d.addr)
	r.tail = r.staged
	r.staged = r.next[r.staged]
}

// commit notes the staged chain and returns its first entry.
func (r *packedRecord) commit(slots uint16, counter uint64) (first uint16) {
	first = r.free
	put64(r.entry(first)+8, counter)
	put64(r.entry(first), link(true, r.next[first], r.tail, slots))
	r.last[first] = r.tail
	r.free = r.staged
	put64(r.addr+recordWordA, r.wordA(r.free, r.free))
	return first
}

func (r *packedRecord) push(t Token) {
	r.batch = append(r.batch, pushed{entry: t.Entry, slots: t.Slots})
}

// announce comes before the flags of the batch's first used element. That store publishes these.
func (r *packedRecord) announce(used, old cursor) {
	oldFree := r.free
	for _, p := range r.batch {
		last := r.last[p.entry]
		r.next[last] = r.free
		if last == p.entry {
			put64(r.entry(last), link(true, r.free, last, p.slots))
		} else {
			put64(r.entry(last), link(false, r.free, 0, 0))
		}
		r.free = p.entry
	}
	put64(r.addr+recordWordA, r.wordA(r.free, oldFree))
	put64(r.addr+recordWordB, recordCursors(used, old))
}

// settle comes after those flags.
func (r *packedRecord) settle(used cursor) {
	for _, p := range r.batch {
		put64(r.entry(p.entry), link(false, r.next[p.entry], 0, 0))
	}
	r.batch = r.batch[:0]
	put64(r.addr+recordWordA, r.wordA(r.free, r.free))
	put64(r.addr+recordWordB, recordCursors(used, used))
}

// beginPacked sets the cursors: by the record when it has a past, and by the base when it is fresh.
func (q *Queue) beginPacked(c *Config, addr uint64, entries uint32) error {
	q.inflight.packed = packedRecord{
		addr: addr, entries: entries, next: make([]uint16, entries), last: make([]uint16, entries),
		batch: make([]pushed, 0, q.state.size),
	}
	p, r := &q.ring, &q.inflight.packed
	if uint16(load64(addr+recordWordA)) == 0 {
		lost, err := p.begin(c.Base)
		if err != nil {
			return err
		}
		q.inflight.slots = lost
		r.format(p.used)
		return nil
	}
	chains, used, err := r.load(p)
	if err != nil {
		return err
	}
	if err := q.inflight.adopt(chains); err != nil {
		return err
	}
	p.used, p.avail = used, used.advanced(q.inflight.slots, p.size)
	p.scrub(q.inflight.slots)
	return nil
}

// format makes a record of a ring with nothing in flight. Its version comes last.
func (r *packedRecord) format(used cursor) {
	for i := range r.entries {
		r.next[i] = uint16(i + 1)
		put64(r.entry(uint16(i)), link(false, uint16(i+1), 0, 0))
	}
	r.free = 0
	put64(r.addr+recordWordB, recordCursors(used, used))
	store64(r.addr+recordWordA, r.wordA(0, 0))
}
