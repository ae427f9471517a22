package blk

import (
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Bounce buffers: for requests whose memory, offset or length does not suit direct I/O. A request takes one and moves
// through it piece by piece; when none is left it waits for one.
const (
	bufferCount = 32
	bufferSize  = 256 << 10
	pageSize    = 4096
)

// bufferPool is a worker's bounce buffers. Buffers are used last in, first out: few are ever touched.
type bufferPool struct {
	blocks  []iouring.Block
	unused  []int32
	waiting []*gate // devices that wait, in turn
}

func (p *bufferPool) init(arena *iouring.Arena) error {
	for i := range int32(bufferCount) {
		b, err := arena.Alloc(bufferSize, pageSize)
		if err != nil {
			return err
		}
		p.blocks = append(p.blocks, b)
		p.unused = append(p.unused, bufferCount-1-i)
	}
	return nil
}

// startBounce gets the request a buffer and moves its first piece.
func (w *worker) startBounce(s *slot) {
	if s.buffer == none {
		g := s.queue.gate
		if len(w.buffers.unused) == 0 || g.buffers >= w.share(bufferCount) {
			s.step = stepBuffer
			g.waiting.push(w.slots, s)
			w.awaitBuffer(g)
			return
		}
		n := len(w.buffers.unused) - 1
		s.buffer = w.buffers.unused[n]
		w.buffers.unused = w.buffers.unused[:n]
		g.buffers++
	}
	w.nextPiece(s)
}

// awaitBuffer puts a device in line.
func (w *worker) awaitBuffer(g *gate) {
	if !g.queued {
		g.queued = true
		w.buffers.waiting = append(w.buffers.waiting, g)
	}
}

// releaseBuffer passes the slot's buffer on: the devices that wait have their turns, but none more than its share.
func (w *worker) releaseBuffer(s *slot) {
	if s.buffer == none {
		return
	}
	w.buffers.unused = append(w.buffers.unused, s.buffer)
	s.buffer = none
	s.queue.gate.buffers--
	for i, g := range w.buffers.waiting {
		if g.buffers >= w.share(bufferCount) {
			continue
		}
		w.buffers.waiting = append(w.buffers.waiting[:i], w.buffers.waiting[i+1:]...)
		g.queued = false
		next := g.waiting.pop(w.slots)
		if g.waiting.head != none {
			w.awaitBuffer(g)
		}
		w.startBounce(next)
		return
	}
}

// pieceSpan is the range of whole units around the current piece.
func (s *slot) pieceSpan(unit int64) (lo, hi int64) {
	return roundDown(s.off, unit), roundUp(s.off+int64(s.piece), unit)
}

// nextPiece moves as much of the rest as fits into the buffer.
func (w *worker) nextPiece(s *slot) {
	unit := s.queue.dev.unit
	room := uint64(bufferSize - s.off%unit)
	s.piece = uint32(min(s.left, room))
	if s.kind == RequestWriteZeroes {
		s.piece = uint32(min(s.left, uint64(unit-s.off%unit))) // one edge, not the middle
	}
	lo, hi := s.pieceSpan(unit)
	switch {
	case s.kind == RequestIn:
		w.submitBounce(s)
	case lo != s.off:
		s.step = stepReadHead
		w.submitEdge(s)
	case hi != s.off+int64(s.piece):
		s.step = stepReadTail
		w.submitEdge(s)
	default:
		w.fillAndWrite(s)
	}
}

// submitEdge reads the first or the last unit of the piece's span, which the piece covers in part only.
func (w *worker) submitEdge(s *slot) {
	d := s.queue.dev
	lo, hi := s.pieceSpan(d.unit)
	at := lo
	if s.step == stepReadTail {
		at = hi - d.unit
	}
	w.sqe(kindRequest, s.id).Read(d.fd, w.buffers.blocks[s.buffer].Addr()+uint64(at-lo), uint32(d.unit), uint64(at))
}

// edgeRead goes on after submitEdge has read n bytes.
func (w *worker) edgeRead(s *slot, n uint64) {
	unit := s.queue.dev.unit
	if n < uint64(unit) {
		w.retryLater(s, unix.EIO)
		return
	}
	s.retries = 0
	end := s.off + int64(s.piece)
	if _, hi := s.pieceSpan(unit); s.step == stepReadHead && hi != end && hi-unit > roundDown(s.off, unit) {
		s.step = stepReadTail
		w.submitEdge(s)
		return
	}
	w.fillAndWrite(s)
}

// fillAndWrite puts the guest's bytes into the buffer and writes the span.
func (w *worker) fillAndWrite(s *slot) {
	if err := w.copyPiece(s); err != nil {
		w.copyFailed(s, err)
		return
	}
	w.submitBounce(s)
}

// submitBounce moves the piece's span between the Disk and the buffer.
func (w *worker) submitBounce(s *slot) {
	s.step = stepBounce
	d := s.queue.dev
	if d.functions != nil {
		w.callPiece(s)
		return
	}
	lo, hi := s.pieceSpan(d.unit)
	addr := w.buffers.blocks[s.buffer].Addr()
	e := w.sqe(kindRequest, s.id)
	if s.kind == RequestIn {
		e.Read(d.fd, addr, uint32(hi-lo), uint64(lo))
		return
	}
	e.Write(d.fd, addr, uint32(hi-lo), uint64(lo))
	if s.stable && !d.syncAfter {
		e.SetRWFlags(iouring.RWFDsync)
	}
}

// bounceDone goes on after n bytes of the span have been read or written. A short transfer is done again whole: the
// buffer still holds everything.
func (w *worker) bounceDone(s *slot, n uint64) {
	lo, hi := s.pieceSpan(s.queue.dev.unit)
	if n < uint64(hi-lo) {
		w.retryLater(s, unix.EIO)
		return
	}
	s.retries = 0
	if s.kind == RequestIn {
		if err := w.copyPiece(s); err != nil {
			w.copyFailed(s, err)
			return
		}
	}
	piece := uint64(s.piece)
	if s.kind == RequestWriteZeroes {
		w.segmentDone(s, piece)
		return
	}
	w.consume(s, piece)
	w.advance(s, piece)
	if s.left > 0 {
		w.nextPiece(s)
		return
	}
	w.dataDone(s)
}

// copyPiece copies the current piece between the buffer and guest memory; zeroes have no memory.
func (w *worker) copyPiece(s *slot) (err error) {
	defer guestmem.Recover(&err)
	at := s.off % s.queue.dev.unit
	piece := w.buffers.blocks[s.buffer].Bytes()[at : at+int64(s.piece)]
	switch s.kind {
	case RequestIn:
		guestmem.CopyOut(w.row(s), piece)
	case RequestOut:
		guestmem.CopyIn(piece, w.row(s))
	default:
		clear(piece)
	}
	return nil
}

// copyFailed ends a request, and its queue, after the guest's memory went away under it.
func (w *worker) copyFailed(s *slot, err error) {
	q := s.queue
	w.finish(s, statusIOErr)
	w.breakQueue(q, err)
}
