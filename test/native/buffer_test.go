package native

import (
	"bytes"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	pageSize  = 4096
	guardSize = 64
	guardByte = 0xa5
)

// layout says how the data of a request lies in guest memory: pieces of it, each at so many bytes behind the last one.
type layout struct {
	name   string
	begin  uint64 // offset of the first byte from a page
	pieces []uint32
	gap    uint64 // between pieces
}

// layouts: one piece in the first four. The last one has odd addresses, odd lengths and holes.
var layouts = []layout{
	{name: "page"},
	{name: "page+1", begin: 1},
	{name: "page+16", begin: 16},
	{name: "page+511", begin: 511},
	{name: "three pieces", begin: 3, pieces: []uint32{201, 5}, gap: 509},
}

// buffer is guest memory for one request's data, with guards around each piece.
type buffer struct {
	areas []virtiotest.Area
	spans [][]byte // the areas' bytes
	guard [][]byte // in front of and behind each span
}

// room is what a buffer for n bytes takes in any layout.
func room(n int) uint64 { return uint64(n) + 2*pageSize }

// newBuffer lays n bytes out in room(n) bytes of m at a page's begin.
func newBuffer(m *virtiotest.Memory, at guestmem.GPA, l layout, n int) buffer {
	var b buffer
	at += guestmem.GPA(pageSize + l.begin)
	left := uint32(n)
	for i := 0; left > 0; i++ {
		size := left
		if i < len(l.pieces) {
			size = min(left, l.pieces[i])
		}
		b.areas = append(b.areas, virtiotest.Area{GPA: at, Len: size})
		b.spans = append(b.spans, m.Bytes(at, uint64(size)))
		b.guard = append(b.guard, m.Bytes(at-guardSize, guardSize), m.Bytes(at+guestmem.GPA(size), guardSize))
		left -= size
		at += guestmem.GPA(uint64(size) + l.gap)
	}
	for _, g := range b.guard {
		copy(g, guards)
	}
	return b
}

var guards = bytes.Repeat([]byte{guardByte}, guardSize)

func (b *buffer) scatter(data []byte) {
	for _, s := range b.spans {
		data = data[copy(s, data):]
	}
}

func (b *buffer) gather(data []byte) {
	for _, s := range b.spans {
		data = data[copy(data, s):]
	}
}

// intact tells whether the device kept its hands off the memory beside the buffer.
func (b *buffer) intact() error {
	for i, g := range b.guard {
		if !bytes.Equal(g, guards) {
			return errors.Errorf("the device wrote beside the buffer: guard %d holds % x", i, g)
		}
	}
	return nil
}
