package virtio

import (
	"slices"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// inflight is the one owner of "fetched, not yet completed". A chain is noted before anything else happens to it, and
// its note is cleared when the driver can see its used element.
//
// It keeps two books. The private one is what this process believes. The record (vhost-user, "Inflight I/O tracking") is
// shared memory that outlives us; it is written in step with the rings, in such an order that whoever reads it after a
// kill at any instruction knows which chains to do again: each is done at least once and completed exactly once. It is
// read only by Activate, and as what a stranger wrote: it may be the front-end's memory.
//
// Ids are heads in split rings, smaller than the queue size, and any 16-bit buffer id in packed ones.
type inflight struct {
	busy  []uint64 // a bit per id
	count int      // chains that Next has returned
	slots uint32   // packed: descriptors of the ring that they take, and those lost before we began
	limit uint32   // packed: size of the ring

	counter uint64 // of the next chain: recovery goes by it
	split   splitRecord
	packed  packedRecord
	region  *guestmem.Region

	// Chains that a predecessor had fetched, in its order. Next returns them first.
	recovered []recoveredChain
}

// recoveredChain is a chain out of the record.
type recoveredChain struct {
	token   Token
	counter uint64
	table   []descriptor // packed: what its descriptors were; split: they are still in the ring
}

// InflightConfig says where a queue's record is.
type InflightConfig struct {
	FD      int    // memory: a memfd; stays the caller's
	Offset  uint64 // of the queue's part, a multiple of 8
	Entries uint32 // descriptors that the part has room for, at least the queue size
}

// Layout of a record (vhost-user, "Split virtqueue", "Packed virtqueue" of the in-flight buffer).
const (
	splitRecordHead   = 16
	splitRecordEntry  = 16
	packedRecordHead  = 32
	packedRecordEntry = 32
	recordAlign       = 64 // of one queue's part; every back-end rounds so

	recordWordA = 8 // offset of the header's second doubleword, in both formats
	recordWordB = 16

	recordVersion = 1 // of what is in there; 0: nothing yet
)

// InflightStride returns how many bytes the record of one queue takes, and with that where the next one's begins.
func InflightStride(f Features, entries uint32) uint64 {
	n := splitRecordHead + splitRecordEntry*uint64(entries)
	if f.Has(FeatureRingPacked) {
		n = packedRecordHead + packedRecordEntry*uint64(entries)
	}
	return (n + recordAlign - 1) &^ (recordAlign - 1)
}

func newInflight(ids, limit uint32) inflight {
	return inflight{busy: make([]uint64, (ids+63)/64), limit: limit}
}

// mapRecord maps the record of a queue; without one that outlives us it makes one that does not.
func (f *inflight) mapRecord(c *Config) (addr uint64, entries uint32, err error) {
	at := c.Inflight
	if at == nil {
		own, err := sys.Memfd("vublk-inflight", int64(InflightStride(c.Features, c.Size)))
		if err != nil {
			return 0, 0, err
		}
		defer func() { _ = own.Close() }()
		at = &InflightConfig{FD: own.Int(), Entries: c.Size}
	}
	switch {
	case at.Entries < c.Size || at.Entries > MaxSize:
		return 0, 0, errors.Errorf("in-flight record has room for %d descriptors, the ring has %d", at.Entries, c.Size)
	case at.Offset%8 != 0:
		return 0, 0, errors.Errorf("in-flight record at offset %#x is not aligned to 8 bytes", at.Offset)
	}
	f.region, err = guestmem.Map(at.FD, guestmem.RegionInfo{Offset: at.Offset, Size: InflightStride(c.Features, at.Entries)})
	if err != nil {
		return 0, 0, errors.Wrap(err, "in-flight record")
	}
	return f.region.HostAddr(), at.Entries, nil
}

func (f *inflight) close() {
	if f.region != nil {
		f.region.Close()
		f.region = nil
	}
}

// admit takes a chain into the private book. It refuses an id that is in flight already: two completions of it would
// mean nothing.
func (f *inflight) admit(t Token) Reason {
	word, bit := &f.busy[t.ID/64], uint64(1)<<(t.ID%64)
	if *word&bit != 0 {
		return ReasonHeadInFlight
	}
	if f.slots+uint32(t.Slots) > f.limit {
		return ReasonOverrun
	}
	*word |= bit
	f.slots += uint32(t.Slots)
	return reasonNone
}

// complete clears a chain in the private book.
func (f *inflight) complete(t Token) {
	word, bit := &f.busy[t.ID/64], uint64(1)<<(t.ID%64)
	if *word&bit == 0 {
		panic("virtio: Push of a chain that is not in flight") // a bug of the caller, not of a guest
	}
	*word &^= bit
	f.slots -= uint32(t.Slots)
	f.count--
}

// adopt takes over what the record says was in flight.
func (f *inflight) adopt(chains []recoveredChain) error {
	slices.SortStableFunc(chains, func(a, b recoveredChain) int {
		switch {
		case a.counter < b.counter:
			return -1
		case a.counter > b.counter:
			return 1
		}
		return 0
	})
	for i := range chains {
		if r := f.admit(chains[i].token); r != reasonNone {
			return errors.Errorf("in-flight record: chain %d: %v", chains[i].token.ID, r)
		}
		f.counter = max(f.counter, chains[i].counter+1)
	}
	f.recovered = chains
	return nil
}

// fetchRecovered is Next for chains of a predecessor.
func (q *Queue) fetchRecovered(c *Chain) (at uint16, r Reason) {
	one := &q.inflight.recovered[0]
	t := one.token
	if q.packed {
		r = q.walkTable(c, one.table)
	} else {
		r = q.walkSplit(c, t.ID)
	}
	if r == reasonNone {
		r = c.finish(t)
	}
	if r != reasonNone {
		return t.ID, r
	}
	q.inflight.recovered = q.inflight.recovered[1:]
	q.inflight.count++
	crashpoint.Reach("request-recovered")
	return t.ID, reasonNone
}
