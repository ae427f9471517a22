package blk

import "github.com/vublk/vublk/virtio/guestmem"

// While a front-end migrates its guest it wants to know what we write into guest memory. Each queue marks its rings
// itself (virtio.Queue.SetLog); here is what requests write: the data that is read, the serial, the status byte.
//
// It is marked when it has been written and before the used index says so, by the address that it had in the memory
// table of its request. So the log of that moment gets it, whenever the request was submitted, and no request has to
// remember anything: its row tells what it has done, and is left with what a failed one may have done.

// SetLog has all that is written for requests marked in l from now on, nil: nowhere. It returns when every worker does
// so; the log before may be closed then. The queues' own log is not set here.
func (d *Device) SetLog(l *guestmem.DirtyLog) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.pool.workers {
		w.do(func() { d.gates[w.id].log = l })
	}
	return nil
}

// mark marks the first n bytes of a request's memory. The caller holds a guard, and logging is on.
func (s *slot) mark(memory []guestmem.Iovec, n uint64) {
	for i := range memory {
		if n == 0 {
			return
		}
		part := min(n, memory[i].Len)
		if gpa, ok := s.gen.table.GPAOf(memory[i].Base, part); ok { // a segment never crosses a region's border
			s.queue.gate.log.Mark(gpa, part)
		}
		n -= part
	}
}

// logRead marks n bytes at the front of the slot's row, which have been read into and are about to be consumed.
func (w *worker) logRead(s *slot, n uint64) {
	if s.kind != RequestIn || s.queue.gate.log == nil {
		return
	}
	if err := guarded(func() error { s.mark(w.row(s), n); return nil }); err != nil {
		w.breakQueue(s.queue, err)
	}
}

// logEnd marks the status byte of a request that is being answered, and, when it failed, all that it may have read into.
func (w *worker) logEnd(s *slot) {
	s.mark(s.answer[:], 1)
	if s.kind == RequestIn && s.status != statusOK {
		s.mark(w.row(s), s.left)
	}
}

// logDropped is logEnd for a request that is not answered any more.
func (w *worker) logDropped(s *slot) {
	if s.queue.gate.log != nil {
		_ = guarded(func() error { w.logEnd(s); return nil }) // the queue is broken already
	}
}
