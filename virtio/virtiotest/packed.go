package virtiotest

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
)

const (
	packedAvail = 1 << 7
	packedUsed  = 1 << 15

	eventEnable  = 0
	eventDisable = 1
	eventDesc    = 2
)

// packedRing is the driver's view of a packed virtqueue (virtio-v1.3 2.8).
type packedRing struct {
	desc, driver, device uint64 // host addresses
	size                 uint32
	eventIdx             bool

	ids       []uint16 // free buffer ids
	free      uint32   // free descriptors
	avail     uint32   // next to add
	availWrap bool
	used      uint32 // next to reap
	usedWrap  bool

	// The first descriptor of a batch gets its flags last.
	firstAt, firstWord uint64
	batch              uint32 // descriptors added since the last publish
}

func (p *packedRing) reset(d *Driver, base virtio.Base) {
	n := d.options.Size
	*p = packedRing{
		desc: d.memory.host(d.desc), driver: d.memory.host(d.driver), device: d.memory.host(d.device), size: n,
		eventIdx: d.options.Features.Has(virtio.FeatureEventIdx),
		ids:      make([]uint16, 0, n), free: n,
		avail: uint32(base & 0x7fff), availWrap: base&(1<<15) != 0,
		used: uint32(base >> 16 & 0x7fff), usedWrap: base&(1<<31) != 0,
	}
	for i := n; i > 0; i-- {
		p.ids = append(p.ids, uint16(i-1))
	}
	store32(p.driver, 0)
	store32(p.device, 0)
	// Each descriptor looks used, in its lap: before the place where we begin that lap is the present one.
	for i := range uint64(n) {
		wrap := p.availWrap == (i < uint64(p.avail))
		put64(p.desc+16*i, 0)
		put64(p.desc+16*i+8, usedFlags(wrap)<<48)
	}
}

func usedFlags(wrap bool) uint64 {
	if wrap {
		return packedAvail | packedUsed
	}
	return 0
}

func (p *packedRing) availFlags() uint64 {
	if p.availWrap {
		return packedAvail
	}
	return packedUsed
}

// write writes the next descriptor of the ring. That of a batch's first one is kept back.
func (p *packedRing) write(gpa uint64, n uint32, id, flags uint16) {
	at := p.desc + 16*uint64(p.avail)
	word := uint64(n) | uint64(id)<<32 | (uint64(flags)|p.availFlags())<<48
	put64(at, gpa)
	if p.batch == 0 {
		p.firstAt, p.firstWord = at+8, word
	} else {
		put64(at+8, word)
	}
	p.batch++
	if p.avail++; p.avail == p.size {
		p.avail, p.availWrap = 0, !p.availWrap
	}
}

func (p *packedRing) add(d *Driver, r *Request) (id uint16, slots uint32, err error) {
	n := len(r.Readable) + len(r.Writable)
	if r.Direct != 0 {
		return 0, 0, errors.New("packed rings have no table behind direct descriptors")
	}
	slots = uint32(n)
	if r.Indirect {
		slots = 1
	}
	if p.free < slots || len(p.ids) == 0 {
		return 0, 0, ErrFull
	}
	p.free -= slots
	id = p.ids[len(p.ids)-1]
	p.ids = p.ids[:len(p.ids)-1]
	if r.Indirect {
		gpa, table := d.table(id)
		packedTable(table, r)
		p.write(gpa, 16*uint32(n), id, flagIndirect)
		return id, slots, nil
	}
	for i := range n {
		area, flags := r.area(i)
		if i+1 < n {
			p.write(uint64(area.GPA), area.Len, 0, flags|flagNext) // only the last one has the id
		} else {
			p.write(uint64(area.GPA), area.Len, id, flags)
		}
	}
	return id, slots, nil
}

func packedTable(table uint64, r *Request) {
	for i := range len(r.Readable) + len(r.Writable) {
		area, flags := r.area(i)
		put64(table+16*uint64(i), uint64(area.GPA))
		put64(table+16*uint64(i)+8, uint64(area.Len)|uint64(flags)<<48)
	}
}

func (p *packedRing) publish() (added, kick bool) {
	batch := p.batch
	if batch == 0 {
		return false, false
	}
	p.batch = 0
	store64(p.firstAt, p.firstWord)
	event := load32(p.device)
	switch event >> 16 & 3 {
	case eventDisable:
		return true, false
	case eventDesc:
		if p.eventIdx {
			return true, p.passed(uint16(event), batch)
		}
	}
	return true, true
}

// passed tells whether the last batch made the descriptor available that the device waits for.
func (p *packedRing) passed(offWrap uint16, batch uint32) bool {
	at := int(offWrap & 0x7fff)
	if wrap := offWrap&(1<<15) != 0; wrap != p.availWrap {
		at -= int(p.size)
	}
	now := int(p.avail)
	return at < now && at >= now-int(batch)
}

func (p *packedRing) pending() bool {
	flags := load64(p.desc+16*uint64(p.used)+8) >> 48
	return flags&(packedAvail|packedUsed) == usedFlags(p.usedWrap)
}

func (p *packedRing) reap(d *Driver) (Completion, bool, error) {
	if !p.pending() {
		return Completion{}, false, nil
	}
	word := load64(p.desc + 16*uint64(p.used) + 8)
	id, n := uint16(word>>32), uint32(word)
	if word>>48&flagWrite == 0 && n != 0 {
		return Completion{}, false, errors.Errorf("used id %d: len %d without the write flag", id, n)
	}
	c, err := d.take(uint32(id), n)
	if err != nil {
		return Completion{}, false, err
	}
	p.ids = append(p.ids, id)
	p.free += c.slots
	if p.used += c.slots; p.used >= p.size {
		p.used, p.usedWrap = p.used-p.size, !p.usedWrap
	}
	return Completion{ID: id, Len: n}, true, nil
}

func (p *packedRing) disableCalls() { store32(p.driver, eventDisable<<16) }

func (p *packedRing) enableCalls() (pending bool) {
	word := uint32(eventEnable << 16)
	if p.eventIdx {
		word = p.used | eventDesc<<16
		if p.usedWrap {
			word |= 1 << 15
		}
	}
	store32(p.driver, word)
	return p.pending()
}
