package virtiotest

import "github.com/vublk/vublk/virtio/guestmem"

// Raw access is for drivers that misbehave: nothing is checked except that it stays inside the rings, and the Driver's
// own bookkeeping does not learn of it.

// Desc is a descriptor of a split ring's table (virtio-v1.3 2.7.5).
type Desc struct {
	Addr  uint64
	Len   uint32
	Flags uint16
	Next  uint16
}

// Flags of descriptors.
const (
	DescNext     = flagNext     // VIRTQ_DESC_F_NEXT
	DescWrite    = flagWrite    // VIRTQ_DESC_F_WRITE
	DescIndirect = flagIndirect // VIRTQ_DESC_F_INDIRECT
	PackedAvail  = packedAvail  // VIRTQ_DESC_F_AVAIL
	PackedUsed   = packedUsed   // VIRTQ_DESC_F_USED
)

// Split is raw access to the split ring of d.
func (d *Driver) Split() RawSplit { return RawSplit{d} }

// RawSplit reads and writes a split ring as it lies in memory.
type RawSplit struct{ d *Driver }

// SetDesc writes descriptor i of the table.
func (r RawSplit) SetDesc(i int, v Desc) {
	splitDesc(r.d.split.desc+16*r.d.slot(i), v.Addr, uint64(v.Len), v.Flags, v.Next)
}

// Desc reads descriptor i of the table.
func (r RawSplit) Desc(i int) Desc {
	addr, word := r.d.raw(i)
	return Desc{Addr: addr, Len: uint32(word), Flags: uint16(word >> 32), Next: uint16(word >> 48)}
}

// SetTable writes an indirect table anywhere in guest memory.
func (r RawSplit) SetTable(gpa guestmem.GPA, entries ...Desc) {
	host := r.d.memory.host(gpa)
	for i, v := range entries {
		splitDesc(host+16*uint64(i), v.Addr, uint64(v.Len), v.Flags, v.Next)
	}
}

// Offer puts heads into the available ring, from the present index on, and stores the index behind them.
func (r RawSplit) Offer(heads ...uint16) {
	idx := r.AvailIdx()
	for _, head := range heads {
		r.d.split.setAvail(idx, head)
		idx++
	}
	r.SetAvailIdx(idx)
}

// AvailIdx reads the available index.
func (r RawSplit) AvailIdx() uint16 { return load16(r.d.split.avail + 2) }

// SetAvailIdx stores the available index.
func (r RawSplit) SetAvailIdx(v uint16) { store16(r.d.split.avail+2, v) }

// SetAvailFlags stores the flags of the available ring.
func (r RawSplit) SetAvailFlags(v uint16) { store16(r.d.split.avail, v) }

// SetUsedEvent stores used_event.
func (r RawSplit) SetUsedEvent(v uint16) { store16(r.d.split.usedEvent(), v) }

// UsedIdx reads the used index.
func (r RawSplit) UsedIdx() uint16 { return load16(r.d.split.used + 2) }

// UsedFlags reads the flags of the used ring.
func (r RawSplit) UsedFlags() uint16 { return load16(r.d.split.used) }

// AvailEvent reads avail_event.
func (r RawSplit) AvailEvent() uint16 { return load16(r.d.split.availEvent()) }

// Packed is raw access to the packed ring of d.
func (d *Driver) Packed() RawPacked { return RawPacked{d} }

// RawPacked reads and writes a packed ring as it lies in memory.
type RawPacked struct{ d *Driver }

// PackedDesc is a descriptor of a packed ring (virtio-v1.3 2.8.2).
type PackedDesc struct {
	Addr  uint64
	Len   uint32
	ID    uint16
	Flags uint16
}

// SetDesc writes descriptor i of the ring, flags last.
func (r RawPacked) SetDesc(i int, v PackedDesc) {
	at := r.d.ring.desc + 16*r.d.slot(i)
	store64(at, v.Addr)
	store64(at+8, uint64(v.Len)|uint64(v.ID)<<32|uint64(v.Flags)<<48)
}

// Desc reads descriptor i of the ring.
func (r RawPacked) Desc(i int) PackedDesc {
	addr, word := r.d.raw(i)
	return PackedDesc{Addr: addr, Len: uint32(word), ID: uint16(word >> 32), Flags: uint16(word >> 48)}
}

// SetTable writes an indirect table anywhere in guest memory.
func (r RawPacked) SetTable(gpa guestmem.GPA, entries ...PackedDesc) {
	host := r.d.memory.host(gpa)
	for i, v := range entries {
		put64(host+16*uint64(i), v.Addr)
		put64(host+16*uint64(i)+8, uint64(v.Len)|uint64(v.ID)<<32|uint64(v.Flags)<<48)
	}
}

// SetDriverEvent stores the driver event suppression structure.
func (r RawPacked) SetDriverEvent(offWrap, flags uint16) {
	store32(r.d.ring.driver, uint32(offWrap)|uint32(flags)<<16)
}

// DeviceEvent reads the device event suppression structure.
func (r RawPacked) DeviceEvent() (offWrap, flags uint16) {
	v := load32(r.d.ring.device)
	return uint16(v), uint16(v >> 16)
}

// RingBytes returns the parts of the ring as they lie in memory: descriptors, driver's and device's part.
func (d *Driver) RingBytes() (desc, driver, device []byte) {
	n := uint64(d.options.Size)
	sizes := d.sizes()
	return d.memory.Bytes(d.desc, 16*n), d.memory.Bytes(d.driver, sizes[1]), d.memory.Bytes(d.device, sizes[2])
}

// slot keeps i inside the table.
func (d *Driver) slot(i int) uint64 { return uint64(i) % uint64(d.options.Size) }

func (d *Driver) raw(i int) (addr, word uint64) {
	at := d.memory.host(d.desc) + 16*d.slot(i)
	return load64(at), load64(at + 8)
}
