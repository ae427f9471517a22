package virtio

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/guestmem"
)

const (
	// MaxSegments is how many host segments a chain may have: a full indirect table, and room for buffers that cross
	// regions and for descriptors in front of the table.
	MaxSegments = 1280
	// MaxTableLen is how many entries an indirect table may have, also on smaller rings: Linux builds chains longer
	// than small rings.
	MaxTableLen = 1024
	// maxChainBytes bounds the sum of all lengths: used lengths are 32 bits wide.
	maxChainBytes = 1<<32 - 1
)

// Token identifies a fetched chain until it is pushed.
type Token struct {
	ID    uint16 // split: head; packed: buffer id
	Slots uint16 // descriptors taken from the ring
	Entry uint16 // packed: where the in-flight record has it
}

// Chain is a fetched chain as two byte streams of host memory. It is scratch space: Next overwrites it.
type Chain struct {
	Token              Token
	Readable, Writable []guestmem.Iovec // device-readable and device-writable; the caller may modify them
	ReadableLen        uint64
	WritableLen        uint64

	segments []guestmem.Iovec // all of them, readable ones first; capacity MaxSegments
	table    []descriptor     // private copy of an indirect table
	bytes    uint64
	split    int  // index in segments of the first writable one
	writing  bool // a writable descriptor was seen
}

// NewChain allocates a Chain of fixed capacity, to be used for every Next of one goroutine.
func NewChain() *Chain {
	return &Chain{segments: make([]guestmem.Iovec, 0, MaxSegments), table: make([]descriptor, MaxTableLen)}
}

func (c *Chain) reset() {
	c.segments = c.segments[:0]
	c.bytes = 0
	c.writing = false
}

// add appends the buffer of one descriptor. An empty one is legal and adds nothing.
func (c *Chain) add(l *guestmem.Lookup, addr uint64, n uint32, writable bool) Reason {
	if writable != c.writing {
		if c.writing {
			return ReasonOrder
		}
		c.turn()
	}
	if n == 0 {
		return reasonNone
	}
	c.bytes += uint64(n)
	if host, ok := l.Hit(guestmem.GPA(addr), n); ok && len(c.segments) < cap(c.segments) {
		c.segments = append(c.segments, guestmem.Iovec{Base: host, Len: uint64(n)})
		return reasonNone
	}
	return c.addSlow(l, addr, n)
}

func (c *Chain) addSlow(l *guestmem.Lookup, addr uint64, n uint32) (r Reason) {
	c.segments, r = translate(l, addr, n, c.segments)
	return r
}

// turn notes that the writable part begins here.
func (c *Chain) turn() {
	c.writing = true
	c.split = len(c.segments)
	c.ReadableLen = c.bytes
}

// finish sets the exported fields, with the same bounds for the sum that add has not checked.
func (c *Chain) finish(t Token) Reason {
	if c.bytes > maxChainBytes {
		return ReasonBytes
	}
	if !c.writing {
		c.turn()
	}
	c.Token = t
	c.WritableLen = c.bytes - c.ReadableLen
	c.Readable = c.segments[:c.split:c.split]
	c.Writable = c.segments[c.split:]
	return reasonNone
}

// loadTable copies an indirect table (virtio-v1.3 2.7.5.3, 2.8.7) out of guest memory. It may be misaligned and may
// cross regions. The segments not yet used serve as scratch space.
func (c *Chain) loadTable(l *guestmem.Lookup, addr uint64, n uint32) ([]descriptor, Reason) {
	switch {
	case n == 0 || n%descriptorSize != 0:
		return nil, ReasonTableSize
	case n > MaxTableLen*descriptorSize:
		return nil, ReasonTableLength
	}
	table := c.table[:n/descriptorSize]
	if host, ok := l.Hit(guestmem.GPA(addr), n); ok {
		piece := [1]guestmem.Iovec{{Base: host, Len: uint64(n)}}
		guestmem.CopyIn(tableBytes(table), piece[:])
		return table, reasonNone
	}
	used := len(c.segments)
	pieces, r := translate(l, addr, n, c.segments)
	if r != reasonNone {
		return nil, r
	}
	guestmem.CopyIn(tableBytes(table), pieces[used:])
	return table, reasonNone
}

func translate(l *guestmem.Lookup, addr uint64, n uint32, dst []guestmem.Iovec) ([]guestmem.Iovec, Reason) {
	dst, err := l.Translate(guestmem.GPA(addr), n, dst)
	switch {
	case err == nil:
		return dst, reasonNone
	case errors.Is(err, guestmem.ErrTooManySegments):
		return dst, ReasonSegments
	default:
		return dst, ReasonUnmapped
	}
}
