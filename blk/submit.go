package blk

import (
	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Limits of one readv or writev: UIO_MAXIOV iovecs, and MAX_RW_COUNT bytes, rounded down to the largest unit.
const (
	maxIovecs  = 1024
	maxIOBytes = 1<<31 - MaxBlockSize
)

// userData tells completions apart: what they complete, and which of those.
type userData uint64

const (
	kindRequest userData = iota << 56 // index: slot
	kindKick                          // index: entry of the poll table
	kindDoorbell
	kindTimer
	kindFsync // index: device at home
	kindIgnore
	kindMask userData = 0xff << 56
)

// sqe returns a submission queue entry; when the queue is full it is submitted first.
func (w *worker) sqe(kind userData, index int32) *iouring.SQE {
	e := w.ring.SQE()
	for e == nil {
		w.enter(0)
		if e = w.ring.SQE(); e == nil {
			w.putAside() // before Linux 5.19 nothing is submitted while completions have overflowed
		}
	}
	e.SetUserData(uint64(kind) | uint64(uint32(index)))
	return e
}

// submitData sends what is left of a read or write to the Disk: straight into guest memory when its addresses and
// lengths suit direct I/O, else through a bounce buffer.
func (w *worker) submitData(s *slot) {
	d := s.queue.dev
	switch {
	case d.functions != nil:
		w.startBounce(s) // Go code must not touch guest memory outside our guard
	case !w.suits(d, s):
		s.bounced = true
		w.startBounce(s)
	default:
		w.submitDirect(s)
	}
}

// suits tells whether the rest of a request can go to the Disk without a copy.
func (w *worker) suits(d *Device, s *slot) bool {
	if d.offsetMask|d.memMask == 0 {
		return true
	}
	lengths, bases := uint64(s.off), uint64(0)
	for _, v := range w.row(s) {
		lengths |= v.Len
		bases |= v.Base
	}
	return lengths&d.offsetMask == 0 && bases&d.memMask == 0
}

func (w *worker) submitDirect(s *slot) {
	s.step = stepDirect
	row := w.row(s)
	d := s.queue.dev
	fd, off, flags := d.fd, uint64(s.off), uint32(0)
	if s.stable && !d.syncAfter {
		flags = iouring.RWFDsync
	}
	n := min(len(row), maxIovecs)
	if d.prompt(s) {
		w.submitPrompt(s, n, flags)
		return
	}
	e := w.sqe(kindRequest, s.id)
	if s.left > maxIOBytes {
		n = fit(row[:n])
	}
	switch {
	case s.kind == RequestIn && n == 1:
		e.Read(fd, row[0].Base, uint32(min(row[0].Len, maxIOBytes)), off)
	case s.kind == RequestIn:
		e.Readv(fd, w.rowAddr(s), uint32(n), off, 0)
	case n == 1:
		e.Write(fd, row[0].Base, uint32(min(row[0].Len, maxIOBytes)), off)
		e.SetRWFlags(flags)
	default:
		e.Writev(fd, w.rowAddr(s), uint32(n), off, flags)
	}
}

// fit returns how many iovecs, one at least, stay within what one system call moves.
func fit(row []guestmem.Iovec) int {
	sum := uint64(0)
	for i, v := range row {
		if sum += v.Len; sum > maxIOBytes {
			return max(i, 1)
		}
	}
	return len(row)
}
