package virtio

import "github.com/pkg/errors"

// Base is where a stopped ring goes on, encoded as in SET_VRING_BASE and GET_VRING_BASE (vhost-user, "Vring state
// description"). Split: bits 0-15 the next available index. Packed: bits 0-14 and 15 place and wrap counter of the next
// available descriptor, 16-30 and 31 those of the next used one.
type Base uint32

// firstPackedBase is what front-ends send for a fresh packed ring that know only the lower half of the encoding.
const firstPackedBase Base = 1 << 15

// cursor is a place in a packed ring with its wrap counter (virtio-v1.3 2.8.1).
type cursor struct {
	idx  uint32
	wrap bool
}

// advanced moves n <= size places forward.
func (c cursor) advanced(n, size uint32) cursor {
	c.idx += n
	if c.idx >= size {
		c.idx -= size
		c.wrap = !c.wrap
	}
	return c
}

// offWrap is the encoding of event suppression structures and, twice, of Base.
func (c cursor) offWrap() uint16 {
	if c.wrap {
		return uint16(c.idx) | 1<<15
	}
	return uint16(c.idx)
}

func cursorOf(offWrap uint16) cursor {
	return cursor{idx: uint32(offWrap &^ (1 << 15)), wrap: offWrap&(1<<15) != 0}
}

// splitIndex decodes the base of a split ring.
func (b Base) splitIndex() (uint16, error) {
	if b > 0xffff {
		return 0, errors.Errorf("base %#x: bits 16-31 must be 0 for a split ring", uint32(b))
	}
	return uint16(b), nil
}

// packedCursors decodes the base of a packed ring and returns how many descriptors lie between its cursors.
func (b Base) packedCursors(size uint32) (avail, used cursor, between uint32, err error) {
	avail, used = cursorOf(uint16(b)), cursorOf(uint16(b>>16))
	if b == firstPackedBase {
		used = avail
	}
	if avail.idx >= size || used.idx >= size {
		return avail, used, 0, errors.Errorf("base %#x is outside of a ring of %d", uint32(b), size)
	}
	between = avail.idx - used.idx
	if avail.wrap != used.wrap {
		between += size
	}
	if between > size {
		return avail, used, 0, errors.Errorf("base %#x: used cursor is ahead of the available one", uint32(b))
	}
	return avail, used, between, nil
}

func packedBase(avail, used cursor) Base {
	return Base(avail.offWrap()) | Base(used.offWrap())<<16
}
