package blk

import (
	"time"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Sizes of a worker's share of everything, fixed at its start.
const (
	defaultSlots = 1024
	// rowLen is how many iovecs a slot has room for: a chain's descriptors, split where memory regions meet.
	rowLen = virtio.MaxSegments
)

// none ends an intrusive list of slots.
const none = int32(-1)

// step says what the next completion of a slot means.
type step uint8

const (
	stepDirect    step = iota // data moved between the Disk and guest memory
	stepBounce                // data moved between the Disk and the slot's bounce buffer
	stepReadHead              // the bounce buffer's first unit was read, to be modified
	stepReadTail              // its last unit was
	stepFallocate             // a segment was discarded or zeroed
	stepZeros                 // zeros were written
	stepFlush                 // the request waits for an fdatasync of its Disk
	stepLock                  // the request waits for a range of its Disk
	stepBuffer                // the request waits for a bounce buffer
	stepDelay                 // the request waits to be tried again
	stepBarrier               // the request waits for all others of its device
)

func (s step) String() string {
	return [...]string{
		"in the Disk", "in the Disk (bounced)", "reading a unit to modify", "reading a unit to modify", "deallocating",
		"writing zeros", "waiting for fdatasync", "waiting for a range", "waiting for a bounce buffer", "waiting to be retried", "a barrier, waiting for all other requests",
	}[s]
}

// slot is one request on its way. It belongs to a worker and is reused.
type slot struct {
	id    int32
	next  int32 // in the free, done or a waiting list
	queue *queue
	token virtio.Token
	gen   *generation
	began time.Duration // on the worker's clock
	due   time.Duration // while it waits to be tried again

	kind    RequestType
	op      operation
	step    step
	retries uint8
	hold    holdKind
	stable  bool // must be on stable storage before it completes
	punched bool // zeroes: tried by punching a hole
	part    bool // zeroes: a segment covers units in part
	fenced  bool // has the barrier flag
	bounced bool // could not go straight into guest memory, or from there
	barrier barrierStage

	status  byte
	answer  [1]guestmem.Iovec // where the status byte goes; Len 0: nowhere
	written uint32            // bytes written into guest memory, the status byte apart
	bytes   uint64            // asked for

	cursor
	buffer int32 // bounce buffer, or none
	piece  uint32
	target uint64 // flush: the modifications that it has to cover
	lo, hi int64  // the bytes of the Disk that it modifies
}

// cursor is what is left to do of a request: bytes of the Disk, and the iovecs (or, for discards and zeroes, the
// segments) in the slot's row.
type cursor struct {
	off          int64
	left         uint64
	first, count int32
}

func (s *slot) reset(q *queue, t virtio.Token, now time.Duration) {
	id := s.id
	*s = slot{} // fields of a literal would be put together elsewhere, and copied here in other pieces than written there
	s.id, s.next, s.buffer = id, none, none
	s.queue, s.token, s.gen, s.began = q, t, q.gen, now
}

// slotList is a FIFO of slots, linked through their next.
type slotList struct {
	head, tail int32
}

func newSlotList() slotList { return slotList{head: none, tail: none} }

func (l *slotList) push(slots []slot, s *slot) {
	s.next = none
	if l.head == none {
		l.head = s.id
	} else {
		slots[l.tail].next = s.id
	}
	l.tail = s.id
}

func (l *slotList) pop(slots []slot) *slot {
	if l.head == none {
		return nil
	}
	s := &slots[l.head]
	l.head = s.next
	return s
}

// row returns the slot's remaining iovecs, in the worker's arena.
func (w *worker) row(s *slot) []guestmem.Iovec {
	at := s.id*rowLen + s.first
	return w.mem.rows[at : at+s.count]
}

// rowAddr is the address that the kernel reads the remaining iovecs from.
func (w *worker) rowAddr(s *slot) uint64 {
	return w.mem.rowsAddr + uint64(s.id*rowLen+s.first)*iovecSize
}

// fillRow copies iovecs into the slot's row.
func (w *worker) fillRow(s *slot, from []guestmem.Iovec) {
	s.first, s.count = 0, int32(len(from))
	copy(w.row(s), from)
}

// consume takes n bytes off the front of the slot's row.
func (w *worker) consume(s *slot, n uint64) {
	w.logRead(s, n)
	row := w.row(s)
	rest := guestmem.Advance(row, n)
	s.first += int32(len(row) - len(rest))
	s.count = int32(len(rest))
}

func (w *worker) takeSlot() *slot {
	if w.free == none {
		return nil
	}
	s := &w.slots[w.free]
	w.free = s.next
	return s
}

// putSlot gives back a slot; last in, first out, so that few rows of the arena are ever touched.
func (w *worker) putSlot(s *slot) {
	s.queue, s.gen, s.buffer, s.hold = nil, nil, none, holdNone
	s.next = w.free
	w.free = s.id
}
