package virtio

// inflight is the one owner of "fetched, not yet completed". A chain is recorded before anything else happens to it
// and its record is cleared when its used element is written.
//
// Ids are heads in split rings, smaller than the queue size, and any 16-bit buffer id in packed ones.
type inflight struct {
	busy  []uint64 // a bit per id
	count int      // chains
	slots uint32   // packed: descriptors of the ring that they take, and those lost before we began
	limit uint32   // packed: size of the ring
}

func newInflight(ids, limit uint32) inflight {
	return inflight{busy: make([]uint64, (ids+63)/64), limit: limit}
}

// fetch records a chain. It refuses an id that is in flight already: two completions of it would mean nothing.
func (f *inflight) fetch(t Token) Reason {
	word, bit := &f.busy[t.ID/64], uint64(1)<<(t.ID%64)
	if *word&bit != 0 {
		return ReasonHeadInFlight
	}
	if f.slots+uint32(t.Slots) > f.limit {
		return ReasonOverrun
	}
	*word |= bit
	f.slots += uint32(t.Slots)
	f.count++
	return reasonNone
}

// complete clears the record of a chain.
func (f *inflight) complete(t Token) {
	word, bit := &f.busy[t.ID/64], uint64(1)<<(t.ID%64)
	if *word&bit == 0 {
		panic("virtio: Push of a chain that is not in flight") // a bug of the caller, not of a guest
	}
	*word &^= bit
	f.slots -= uint32(t.Slots)
	f.count--
}
