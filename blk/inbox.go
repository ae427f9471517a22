package blk

import (
	"runtime"
	"sync/atomic"
)

// messageKind says what one worker tells another.
type messageKind uint8

const (
	msgFlush       messageKind = iota // to home: slot waits until the Disk is flushed up to target
	msgFlushDone                      // to the slot's worker: with a status
	msgLock                           // to home: slot asks for a range of the Disk
	msgLocked                         // to the slot's worker: it has the range
	msgUnlock                         // to home: slot gives its range back
	msgSettle                         // from home: tell me when none of your untracked writes is left
	msgSettled                        // to home
	msgBarrier                        // to home: slot holds a barrier
	msgHold                           // from home: fetch nothing of the device, tell me when nothing is in flight
	msgHeld                           // to home
	msgPass                           // from home: the slot's barrier is through
	msgBarrierDone                    // to home
	msgRelease                        // from home: go on
	msgCalled                         // from a FuncDisk's goroutine: the slot's call returned lo, as a completion would
	msgFlushCalled                    // likewise, to home, of a flush
)

// message is what workers send each other about the requests of one device: fixed size, no allocation.
type message struct {
	kind      messageKind
	status    byte
	exclusive bool
	merged    bool  // a flush had no fdatasync of its own
	from      int32 // worker
	slot      int32 // of worker from, or of the receiver in answers
	dev       *Device
	lo, hi    int64  // a range of the Disk, bytes
	target    uint64 // of a flush
}

// inbox is a bounded queue with many producers and one consumer (after D. Vyukov): each cell's sequence number says
// whose turn it is.
type inbox struct {
	cells []cell
	mask  uint64
	_     [48]byte
	tail  atomic.Uint64 // producers
	_     [56]byte
	head  uint64 // consumer
}

type cell struct {
	seq atomic.Uint64
	msg message
}

// inboxSize is more than enough for messages that somebody waits for; where it is not, messages wait at their sender.
func inboxSize(slots int) int { return 4 * slots }

func newInbox(capacity int) *inbox {
	n := 1
	for n < capacity {
		n *= 2
	}
	b := &inbox{cells: make([]cell, n), mask: uint64(n - 1)}
	for i := range b.cells {
		b.cells[i].seq.Store(uint64(i))
	}
	return b
}

// push appends m; false: the inbox is full.
func (b *inbox) push(m message) bool {
	for {
		at := b.tail.Load()
		c := &b.cells[at&b.mask]
		switch seq := c.seq.Load(); {
		case seq == at:
			if b.tail.CompareAndSwap(at, at+1) {
				c.msg = m
				c.seq.Store(at + 1)
				return true
			}
		case seq < at:
			return false
		}
	}
}

// pop takes the oldest message.
func (b *inbox) pop(m *message) bool {
	c := &b.cells[b.head&b.mask]
	if c.seq.Load() != b.head+1 {
		return false
	}
	*m = c.msg
	c.msg.dev = nil
	c.seq.Store(b.head + uint64(len(b.cells)))
	b.head++
	return true
}

// ready tells whether pop would succeed.
func (b *inbox) ready() bool {
	return b.cells[b.head&b.mask].seq.Load() == b.head+1
}

// send delivers m to worker "to": at once when that is the sender itself.
func (w *worker) send(to *worker, m message) {
	if to == w {
		w.receive(&m)
		return
	}
	if len(w.unsent) > 0 || !to.inbox.push(m) {
		w.unsent = append(w.unsent, outgoing{to, m}) // sendUnsent tries again
		return
	}
	to.wake()
}

// post delivers m from a goroutine that is no worker.
func (w *worker) post(m message) {
	for !w.inbox.push(m) {
		runtime.Gosched() // full of what the worker is about to read
	}
	w.wake()
}

// outgoing is a message that found an inbox full.
type outgoing struct {
	to  *worker
	msg message
}

// sendUnsent tries again what found an inbox full, in order.
func (w *worker) sendUnsent() {
	for len(w.unsent) > 0 && w.unsent[0].to.inbox.push(w.unsent[0].msg) {
		w.unsent[0].to.wake()
		w.unsent = w.unsent[1:]
	}
}

// readInbox handles what other workers have sent.
func (w *worker) readInbox() {
	w.sendUnsent()
	var m message
	for n := 0; n < len(w.inbox.cells) && w.inbox.pop(&m); n++ {
		w.receive(&m)
	}
}

func (w *worker) receive(m *message) {
	d := m.dev
	switch m.kind {
	case msgFlush:
		w.joinFlush(d, flushWaiter{worker: m.from, slot: m.slot, target: m.target})
	case msgFlushDone:
		w.flushDone(&w.slots[m.slot], m)
	case msgLock:
		d.ranges.lock(w, d, rangeHold{worker: m.from, slot: m.slot, lo: m.lo, hi: m.hi, exclusive: m.exclusive})
	case msgLocked:
		w.locked(&w.slots[m.slot])
	case msgUnlock:
		d.ranges.unlock(w, d, m.from, m.slot)
	case msgSettle:
		w.settle(d)
	case msgSettled:
		d.ranges.settled(w, d)
	case msgBarrier:
		w.barrierCame(d, parkedBarrier{worker: m.from, slot: m.slot})
	case msgHold:
		w.hold(d)
	case msgHeld:
		w.workerHeld(d)
	case msgPass:
		w.pass(&w.slots[m.slot])
	case msgBarrierDone:
		w.barrierDone(d)
	case msgRelease:
		w.release(d)
	case msgCalled:
		w.stepDone(&w.slots[m.slot], int32(m.lo))
	case msgFlushCalled:
		w.fsyncDone(d, int32(m.lo))
	}
}
