package virtio_test

import (
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Availability in the first lap and in the second one.
const (
	lap1 = virtiotest.PackedAvail
	lap2 = virtiotest.PackedUsed
)

func pk(gpa guestmem.GPA, n uint32, id, flags uint16) virtiotest.PackedDesc {
	return virtiotest.PackedDesc{Addr: uint64(gpa), Len: n, ID: id, Flags: flags}
}

type packedHostile struct {
	name   string
	size   uint32 // 0: 16
	plain  bool   // without INDIRECT_DESC
	reason virtio.Reason
	set    func(p virtiotest.RawPacked, m hostileMemory)
}

var hostilePacked = []packedHostile{
	{"chain longer than the ring", 0, false, virtio.ReasonChainLength, func(p virtiotest.RawPacked, m hostileMemory) {
		for i := range 16 {
			p.SetDesc(i, pk(m.buf, 1, 0, next|lap1))
		}
	}},
	{"chain longer than a ring of 1", 1, false, virtio.ReasonChainLength, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.buf, 1, 0, next|lap1))
	}},
	{"address outside memory", 0, false, virtio.ReasonUnmapped, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.end, 1, 0, lap1))
	}},
	{"buffer that ends outside", 0, false, virtio.ReasonUnmapped, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.end-10, 11, 0, lap1))
	}},
	{"address plus length overflow", 0, false, virtio.ReasonUnmapped, func(p virtiotest.RawPacked, _ hostileMemory) {
		p.SetDesc(0, pk(1<<64-16, 32, 0, lap1))
	}},
	{"writable before readable", 0, false, virtio.ReasonOrder, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(1, pk(m.buf, 1, 0, lap1))
		p.SetDesc(0, pk(m.buf, 1, 0, next|write|lap1))
	}},
	{"too many segments", 2000, false, virtio.ReasonSegments, func(p virtiotest.RawPacked, m hostileMemory) {
		for i := range virtio.MaxSegments + 1 {
			p.SetDesc(i, pk(m.buf, 1, 0, next|lap1))
		}
	}},
	{"more than 4 GiB", 300, false, virtio.ReasonBytes, func(p virtiotest.RawPacked, m hostileMemory) {
		for i := range 250 {
			p.SetDesc(i, pk(m.end-20<<20, 20<<20, 0, next|lap1))
		}
		p.SetDesc(250, pk(m.buf, 1, 0, lap1))
	}},
	{"indirect without the feature", 0, true, virtio.ReasonIndirectUnsupported, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.table, 16, 0, indirect|lap1))
	}},
	{"indirect with next", 0, false, virtio.ReasonIndirectNext, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.table, 16, 0, indirect|next|lap1))
	}},
	{"table behind a direct descriptor", 0, false, virtio.ReasonIndirectNext, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(1, pk(m.table, 16, 0, indirect|lap1))
		p.SetDesc(0, pk(m.buf, 1, 0, next|lap1))
	}},
	{"indirect nested", 0, false, virtio.ReasonIndirectNested, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetTable(m.table, pk(m.table, 16, 0, indirect))
		p.SetDesc(0, pk(m.table, 16, 0, indirect|lap1))
	}},
	{"indirect of length 0", 0, false, virtio.ReasonTableSize, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.table, 0, 0, indirect|lap1))
	}},
	{"indirect of 17 bytes", 0, false, virtio.ReasonTableSize, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.table, 17, 0, indirect|lap1))
	}},
	{"indirect of 1025 entries", 0, false, virtio.ReasonTableLength, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.table, 1025*16, 0, indirect|lap1))
	}},
	{"indirect table outside memory", 0, false, virtio.ReasonUnmapped, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.end-16, 32, 0, indirect|lap1))
	}},
	{"same id twice in one batch", 0, false, virtio.ReasonHeadInFlight, func(p virtiotest.RawPacked, m hostileMemory) {
		p.SetDesc(0, pk(m.buf, 1, 9, lap1))
		p.SetDesc(1, pk(m.buf, 1, 9, lap1))
	}},
}

func TestHostilePacked(t *testing.T) {
	for _, tc := range hostilePacked {
		t.Run(tc.name, func(t *testing.T) {
			features := modern | virtio.FeatureRingPacked
			if tc.plain {
				features &^= virtio.FeatureIndirectDesc
			}
			size := tc.size
			if size == 0 {
				size = 16
			}
			r := newRig(t, virtiotest.Options{Size: size, Features: features, TableLen: 1})
			tc.set(r.driver.Packed(), layHostile(t, r))
			breakAfterGoodOnes(t, r, tc.reason)
		})
	}
}

// TestPackedOverrun: a driver laps the device, with new ids each time.
func TestPackedOverrun(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 4, Features: modern | virtio.FeatureRingPacked})
	m, p := layHostile(t, r), r.driver.Packed()
	for i := range 4 {
		p.SetDesc(i, pk(m.buf, 1, uint16(i), lap1))
	}
	var tokens []virtio.Token
	for range 4 {
		tokens = append(tokens, r.fetch(t))
	}
	p.SetDesc(0, pk(m.buf, 1, 4, lap2))
	wantBroken(t, r, virtio.ReasonOverrun)
	for _, token := range tokens {
		r.queue.Push(token, 0)
	}
}

// TestPackedLostSlotsStayTaken: a base with descriptors between its cursors, as after a crash without a record of them.
func TestPackedLostSlotsStayTaken(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 4, Features: modern | virtio.FeatureRingPacked})
	r.succeed(t, 2|1<<15|1<<31) // two fetched, none used
	m, p := layHostile(t, r), r.driver.Packed()
	p.SetDesc(2, pk(m.buf, 1, 65535, lap1)) // ids are any 16 bits
	p.SetDesc(3, pk(m.buf, 1, 1, lap1))
	p.SetDesc(0, pk(m.buf, 1, 2, lap2))
	a, b := r.fetch(t), r.fetch(t)
	if a.ID != 65535 {
		t.Fatalf("id %d", a.ID)
	}
	wantBroken(t, r, virtio.ReasonOverrun)
	r.queue.Push(a, 0)
	r.queue.Push(b, 0)
	// Fetching ended at the ring's end, in the second lap now; the two pushed before it broke were not published.
	if base, err := r.queue.Stop(); uint16(base) != 0 || err != nil {
		t.Fatalf("base %#x, %v", base, err)
	}
}

// TestPackedFlagsOfTheOtherLap are no descriptor: neither both set nor both clear nor those of the next lap.
func TestPackedFlagsOfTheOtherLap(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 1, Features: modern | virtio.FeatureRingPacked})
	m, p := layHostile(t, r), r.driver.Packed()
	mine, other := uint16(lap1), uint16(lap2)
	for lap := range 9 {
		for _, flags := range []uint16{0, lap1 | lap2, other} {
			p.SetDesc(0, pk(m.buf, 1, 3, flags))
			if ok, err := r.next(); ok || err != nil || r.queue.Pending() {
				t.Fatalf("lap %d: flags %#x: %v, %v", lap, flags, ok, err)
			}
		}
		p.SetDesc(0, pk(m.buf, 1, 3, mine|write))
		r.queue.Push(r.fetch(t), 1)
		if _, err := r.queue.Publish(); err != nil {
			t.Fatal(err)
		}
		both := uint16(0) // what the device sets in even laps
		if lap%2 == 0 {
			both = lap1 | lap2
		}
		if d := p.Desc(0); d.ID != 3 || d.Len != 1 || d.Flags != both|write {
			t.Fatalf("lap %d: used %+v", lap, d)
		}
		mine, other = other, mine
	}
}

// TestPackedBatchIsWrittenBackwards: until Publish the first used descriptor is as the driver left it, and the buffer
// id is that of the last descriptor of a chain.
func TestPackedBatchIsWrittenBackwards(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 8, Features: modern | virtio.FeatureRingPacked})
	m, p := layHostile(t, r), r.driver.Packed()
	p.SetDesc(1, pk(m.buf, 1, 21, lap1))
	p.SetDesc(0, pk(m.buf, 1, 20, next|lap1))
	p.SetDesc(2, pk(m.buf, 1, 22, write|lap1))
	first := p.Desc(0)
	a := r.fetch(t)
	b := r.fetch(t)
	if a != (virtio.Token{ID: 21, Slots: 2}) || b != (virtio.Token{ID: 22, Slots: 1, Entry: 2}) {
		t.Fatalf("tokens %+v, %+v", a, b)
	}
	r.queue.Push(b, 1)
	r.queue.Push(a, 0)
	if p.Desc(0) != first {
		t.Fatal("the first element is visible before Publish")
	}
	if _, err := r.queue.Publish(); err != nil {
		t.Fatal(err)
	}
	if d := p.Desc(0); d.ID != 22 || d.Len != 1 || d.Flags != lap1|lap2|write {
		t.Fatalf("first used %+v", d)
	}
	if d := p.Desc(1); d.ID != 21 || d.Len != 0 || d.Flags != lap1|lap2 {
		t.Fatalf("second used %+v", d)
	}
}
