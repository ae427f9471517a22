package bench

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	descSize     = 16
	flagNext     = 1 << 0 // VIRTQ_DESC_F_NEXT
	flagWrite    = 1 << 1 // VIRTQ_DESC_F_WRITE
	flagIndirect = 1 << 2 // VIRTQ_DESC_F_INDIRECT
	packedAvail  = 1 << 7 // VIRTQ_DESC_F_AVAIL
	packedUsed   = 1 << 15

	noNotify     = 1       // VIRTQ_USED_F_NO_NOTIFY
	eventDisable = 1 << 16 // RING_EVENT_FLAGS_DISABLE, behind offset and wrap counter
)

// echo is the device of Ceiling: it writes 0 into the last byte of each chain, which is the status, and completes it.
// The driver is our own, so nothing is checked.
type echo struct {
	memory            *virtiotest.Memory
	desc, avail, used []byte // packed: ring, driver's events, device's events
	size              uint32
	seen              uint16 // split: the next index, available and used alike
	at                uint32 // packed: the next descriptor
	wrap              bool
	zeroes            bool // split: fill what is to be written but the last descriptor, which has the status
	turn              func(*echo)
}

func newEcho(d *virtiotest.Driver, packed bool) *echo {
	e := &echo{memory: d.Memory(), size: uint32(d.Size()), wrap: true, turn: (*echo).split}
	e.desc, e.avail, e.used = d.RingBytes()
	if packed {
		e.turn = (*echo).packed
		atomic.StoreUint32(word(e.used), eventDisable)
	} else {
		atomic.StoreUint32(word(e.used), noNotify)
	}
	return e
}

// serveEchoes is the device's life.
func serveEchoes(all []*echo, cpu int, quit *atomic.Bool) error {
	undo, err := pin(cpu)
	if err != nil {
		return err
	}
	for !quit.Load() {
		for _, e := range all {
			e.turn(e)
		}
	}
	return undo()
}

// descriptor is one of either format: tail is next or id.
type descriptor struct {
	addr  guestmem.GPA
	len   uint32
	tail  uint16
	flags uint16
}

// splitDesc and packedDesc have address and length in common, and flags and tail the other way round.
func splitDesc(b []byte) descriptor {
	w := binary.LittleEndian.Uint64(b[8:])
	return descriptor{
		addr: guestmem.GPA(binary.LittleEndian.Uint64(b)), len: uint32(w), flags: uint16(w >> 32), tail: uint16(w >> 48),
	}
}

func packedDesc(b []byte) descriptor {
	d := splitDesc(b)
	d.flags, d.tail = d.tail, d.flags
	return d
}

// answer writes the status of the chain whose last descriptor of the ring is d.
func (e *echo) answer(d descriptor) {
	if d.flags&flagIndirect != 0 {
		table := e.memory.Bytes(d.addr, uint64(d.len))
		d = splitDesc(table[len(table)-descSize:]) // address and length are where they are in a packed one
	}
	e.memory.Bytes(d.addr+guestmem.GPA(d.len)-1, 1)[0] = 0
}

// split answers what there is on a split ring, with one used index for all.
func (e *echo) split() {
	idx := uint16(atomic.LoadUint32(word(e.avail)) >> 16)
	if idx == e.seen {
		return
	}
	for ; e.seen != idx; e.seen++ {
		slot := uint32(e.seen) & (e.size - 1)
		head := binary.LittleEndian.Uint16(e.avail[4+2*slot:])
		d := splitDesc(e.desc[descSize*uint32(head):])
		for d.flags&flagNext != 0 {
			if e.zeroes && d.flags&flagWrite != 0 {
				clear(e.memory.Bytes(d.addr, uint64(d.len)))
			}
			d = splitDesc(e.desc[descSize*uint32(d.tail):])
		}
		e.answer(d)
		binary.LittleEndian.PutUint64(e.used[4+8*slot:], uint64(head)|1<<32)
	}
	atomic.StoreUint32(word(e.used), noNotify|uint32(e.seen)<<16)
}

// packed answers what there is on a packed ring.
func (e *echo) packed() {
	for {
		first := e.desc[descSize*e.at:]
		flags := atomic.LoadUint64(long(first[8:])) >> 48
		avail, used := flags&packedAvail != 0, flags&packedUsed != 0
		if avail != e.wrap || used == e.wrap {
			return
		}
		wrap := e.wrap
		d := packedDesc(first)
		for e.advance(); d.flags&flagNext != 0; e.advance() {
			d = packedDesc(e.desc[descSize*e.at:])
		}
		e.answer(d)
		done := uint64(1) | uint64(d.tail)<<32 | flagWrite<<48
		if wrap {
			done |= (packedAvail | packedUsed) << 48
		}
		atomic.StoreUint64(long(first[8:]), done)
	}
}

func (e *echo) advance() {
	if e.at++; e.at == e.size {
		e.at, e.wrap = 0, !e.wrap
	}
}
