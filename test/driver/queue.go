package driver

import (
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const pageSize = 4096

// Options are for New.
type Options struct {
	Depth int  // requests that may be in flight; 0: 1
	Room  int  // bytes of data that each may carry, its Shift included
	Poll  bool // look at the ring all the time instead of sleeping until a call
	// Dead is set when the back-end is: who waits for it is told ErrDead. May be nil.
	Dead *atomic.Bool
}

// Queue makes requests on one virtqueue.
type Queue struct {
	ring    *virtiotest.Driver
	options Options
	slots   []slot
	byID    []int // slot
	areas   struct{ readable, writable []virtiotest.Area }
}

// slot is the memory of one request.
type slot struct {
	request Request
	flying  bool
	cell    []byte // header, status
	header  virtiotest.Area
	status  virtiotest.Area
	data    []byte
	at      guestmem.GPA // of data
}

// New takes memory for the requests from the guest that the ring belongs to.
func New(ring *virtiotest.Driver, o Options) (*Queue, error) {
	o.Depth = max(o.Depth, 1)
	q := &Queue{ring: ring, options: o, slots: make([]slot, o.Depth), byID: make([]int, ring.Size())}
	m := ring.Memory()
	for i := range q.slots {
		cell, err := m.Alloc(headerSize+1, 32)
		if err != nil {
			return nil, err
		}
		at, err := m.Alloc(uint64(max(o.Room, segmentSize)), pageSize)
		if err != nil {
			return nil, err
		}
		q.slots[i] = slot{
			cell: m.Bytes(cell, headerSize+1), data: m.Bytes(at, uint64(max(o.Room, segmentSize))), at: at,
			header: virtiotest.Area{GPA: cell, Len: headerSize}, status: virtiotest.Area{GPA: cell + headerSize, Len: 1},
		}
	}
	if o.Poll {
		ring.DisableCalls()
	}
	return q, nil
}

// Ring returns the virtqueue.
func (q *Queue) Ring() *virtiotest.Driver { return q.ring }

// Depth is how many slots there are.
func (q *Queue) Depth() int { return len(q.slots) }

// Flying tells whether a slot's request has not come back yet.
func (q *Queue) Flying(slot int) bool { return q.slots[slot].flying }

// Request returns what a slot has made last.
func (q *Queue) Request(slot int) Request { return q.slots[slot].request }

// Data returns the memory of a request's data in a slot: what is to be written, or what was read. It is the guest's.
func (q *Queue) Data(slot int, r Request) []byte { return q.slots[slot].data[r.Shift:][:r.Size] }

// Add builds the request of a slot, whose data is in its place. The device sees it after Publish.
// virtiotest.ErrFull tells that the ring has no room now.
func (q *Queue) Add(slot int, r Request) error {
	s := &q.slots[slot]
	if s.flying {
		return errors.Errorf("slot %d: %v is in flight", slot, s.request)
	}
	r.putHeader(s.cell)
	s.cell[headerSize] = StatusOpen
	if r.segmented() {
		r.putSegment(s.data[r.Shift:])
	}
	q.areas.readable = append(q.areas.readable[:0], s.header)
	q.areas.writable = q.areas.writable[:0]
	if r.Kind == blk.RequestIn {
		q.areas.writable = s.cut(q.areas.writable, r)
	} else {
		q.areas.readable = s.cut(q.areas.readable, r)
	}
	q.areas.writable = append(q.areas.writable, s.status)
	id, err := q.ring.Add(virtiotest.Request{Readable: q.areas.readable, Writable: q.areas.writable, Indirect: r.Indirect})
	if err != nil {
		return err
	}
	s.request, s.flying, q.byID[id] = r, true, slot
	return nil
}

// cut appends the areas of the data: whole sectors, as even as they come.
func (s *slot) cut(to []virtiotest.Area, r Request) []virtiotest.Area {
	at, left := s.at+guestmem.GPA(r.Shift), r.data()
	for parts := max(r.Parts, 1); left > 0; parts-- {
		n := left
		if parts > 1 {
			n = min(left, max(left/parts/SectorSize, 1)*SectorSize)
		}
		to = append(to, virtiotest.Area{GPA: at, Len: uint32(n)})
		at += guestmem.GPA(n)
		left -= n
	}
	return to
}

// Publish makes available what was added.
func (q *Queue) Publish() error {
	_, err := q.ring.Publish()
	return err
}

// Submit is Add and Publish.
func (q *Queue) Submit(slot int, r Request) error {
	if err := q.Add(slot, r); err != nil {
		return err
	}
	return q.Publish()
}

// Reap returns the slot of the next completion, if there is one. A *StatusError comes with its slot; any other error tells
// what the device did that it must not.
func (q *Queue) Reap() (slot int, ok bool, err error) {
	c, ok, err := q.ring.Reap()
	if err != nil || !ok {
		return 0, false, err
	}
	slot = q.byID[c.ID]
	s := &q.slots[slot]
	s.flying = false
	switch status := s.cell[headerSize]; {
	case status != statusOK:
		return slot, true, &StatusError{s.request, status}
	case c.Len != s.request.written():
		return slot, false, errors.Errorf("%v: %d bytes written, want %d", s.request, c.Len, s.request.written())
	}
	return slot, true, nil
}
