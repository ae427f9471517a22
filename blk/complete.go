package blk

import (
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/iouring"
)

// reap handles the completions that are there.
func (w *worker) reap() {
	for len(w.backlog) > 0 {
		c := w.backlog[0]
		w.backlog = w.backlog[1:]
		w.complete(c)
	}
	for n := w.ring.Ready(); n > 0; n-- {
		c, ok := w.ring.Peek()
		if !ok {
			return
		}
		w.ring.Seen()
		w.complete(c)
	}
}

// putAside takes completions off the ring whose turn it is not.
func (w *worker) putAside() {
	for c, ok := w.ring.Peek(); ok; c, ok = w.ring.Peek() {
		w.ring.Seen()
		w.backlog = append(w.backlog, c)
	}
}

func (w *worker) complete(c iouring.CQE) {
	index := int32(uint32(c.UserData))
	switch userData(c.UserData) & kindMask {
	case kindRequest:
		w.stepDone(&w.slots[index], c.Res)
	case kindKick:
		w.kicked(index, c)
	case kindDoorbell:
		if c.Flags&iouring.CQEFMore == 0 {
			_ = w.armDoorbell()
		}
	case kindTimer:
		w.timerFired()
	case kindFsync:
		w.fsyncDone(w.homes[index], c.Res)
	}
}

// stepDone goes on with a request after one of its operations has completed with res: bytes, or a negated errno.
func (w *worker) stepDone(s *slot, res int32) {
	d := s.queue.dev
	if s.kind.modifies() {
		d.touch(w) // failed and short writes too: something may have reached the Disk
	}
	if res < 0 {
		w.stepFailed(d, s, unix.Errno(-res))
		return
	}
	switch s.step {
	case stepDirect:
		w.directDone(s, uint64(res))
	case stepBounce:
		w.bounceDone(s, uint64(res))
	case stepReadHead, stepReadTail:
		w.edgeRead(s, uint64(res))
	case stepFallocate, stepZeros:
		w.segmentDone(s, uint64(res))
	}
}

// directDone advances a request by n bytes. Less than was asked is legal: the rest is submitted again, from a whole
// unit on.
func (w *worker) directDone(s *slot, n uint64) {
	if n < s.left {
		n -= n & s.queue.dev.offsetMask
	}
	if n == 0 {
		w.noProgress(s)
		return
	}
	s.retries = 0
	w.consume(s, n)
	w.advance(s, n)
	if s.left > 0 {
		w.submitData(s)
		return
	}
	w.dataDone(s)
}

// dataDone completes a read or a write; a write that must be stable and is not yet, not before an fdatasync.
func (w *worker) dataDone(s *slot) {
	if d := s.queue.dev; s.stable && d.syncAfter {
		w.releaseBuffer(s)
		w.beginFlush(d, s)
		return
	}
	w.finish(s, statusOK)
}

// advance moves a request's cursor over n bytes that have been read or written.
func (w *worker) advance(s *slot, n uint64) {
	s.off += int64(n)
	s.left -= n
	if s.kind == RequestIn {
		s.written += uint32(n)
	}
}

// Tries of one operation that makes no progress or is told to try again, before the driver is told IOERR. Delays double
// from retryDelay: about a second in sum.
const maxRetries = 10

// noProgress handles a read at the end of a file that somebody truncated, and a write of nothing.
func (w *worker) noProgress(s *slot) {
	if s.kind == RequestIn {
		w.failed(s, unix.ENODATA)
		return
	}
	w.retryLater(s, unix.EIO)
}

func (w *worker) stepFailed(d *Device, s *slot, errno unix.Errno) {
	switch errno {
	case unix.EINTR, unix.EAGAIN:
		w.retryLater(s, errno)
	case unix.EOPNOTSUPP, unix.ENOSYS:
		if s.step == stepFallocate {
			w.cannotFallocate(d, s)
			return
		}
		w.failed(s, errno)
	case unix.EINVAL:
		if s.step == stepDirect && s.buffer == none {
			s.bounced = true // stricter about memory than it said
			w.startBounce(s)
			return
		}
		w.failed(s, errno)
	default:
		w.failed(s, errno)
	}
}

// failed answers IOERR. The first failure of a device is logged, all are counted.
func (w *worker) failed(s *slot, errno unix.Errno) {
	d := s.queue.dev
	if d.ioErrors.Add(1) == 1 {
		d.opt.Log.Error("I/O error: the guest is told IOERR; later ones are counted, not logged",
			"request", s.kind.String(), "offset", s.off, "left", s.left, "error", errno.Error())
	}
	w.finish(s, statusIOErr)
}
