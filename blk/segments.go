package blk

import (
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Zeros are written, where the Disk cannot make them, from one block that is never written to, as often as needed in
// one writev.
const (
	zeroSize   = 64 << 10
	zeroIovecs = 16
)

// zeroSource is the block of zeros and an array of iovecs that all point to it.
type zeroSource struct {
	addr   uint64
	iovecs uint64 // address of the array
}

func (z *zeroSource) init(arena *iouring.Arena) error {
	block, err := arena.Alloc(zeroSize, pageSize)
	if err != nil {
		return err
	}
	table, err := arena.Alloc(zeroIovecs*iovecSize, pageSize)
	if err != nil {
		return err
	}
	z.addr, z.iovecs = block.Addr(), table.Addr()
	for i := range iovecs(table) {
		iovecs(table)[i] = guestmem.Iovec{Base: block.Addr(), Len: zeroSize}
	}
	return nil
}

// nextSegment goes on with a discard or write-zeroes request: with the rest of the segment under way, else with the
// first one that is left in the slot's row.
func (w *worker) nextSegment(s *slot) {
	d := s.queue.dev
	for s.left == 0 {
		if s.count == 0 {
			w.segmentsDone(d, s)
			return
		}
		w.loadSegment(d, s)
	}
	if d.inline != nil {
		d.inline.Zero(s.off, int64(s.left), w.mayUnmap(s))
		w.segmentDone(s, s.left)
		return
	}
	if d.functions != nil {
		w.callZero(s)
		return
	}
	inUnit := uint64(s.off % d.unit)
	switch {
	case inUnit != 0 || s.left < uint64(d.unit): // an edge, of zeroes only: discards were trimmed
		w.startBounce(s)
	case s.kind == RequestWriteZeroes && !w.mayUnmap(s) && d.noZeroRange.Load():
		w.writeZeros(d, s)
	default:
		w.fallocate(d, s)
	}
}

// loadSegment makes the row's first segment the current one. A discard leaves out the units that it covers in part.
func (w *worker) loadSegment(d *Device, s *slot) {
	seg := w.row(s)[0]
	off, end := int64(seg.Base), int64(seg.Base)+int64(seg.Len&^unmapBit)
	if s.kind == RequestDiscard {
		off, end = roundUp(off, d.unit), roundDown(end, d.unit)
	}
	s.off, s.left = off, uint64(max(end-off, 0))
	if s.left > 0 {
		return // the segment stays in the row until it is done: mayUnmap looks at it
	}
	s.first++
	s.count--
}

// mayUnmap tells whether the current segment may be deallocated.
func (w *worker) mayUnmap(s *slot) bool {
	return s.kind == RequestDiscard || w.row(s)[0].Len&unmapBit != 0
}

// fallocate discards or zeroes the whole units of the current segment (fallocate(2); block devices since Linux 4.9).
func (w *worker) fallocate(d *Device, s *slot) {
	s.step = stepFallocate
	n := s.left - s.left&d.offsetMask
	s.piece = uint32(n)
	e := w.sqe(kindRequest, s.id)
	if s.kind == RequestDiscard && d.block && w.ring.Features().Has(iouring.FeatureBlockDiscard) {
		e.BlockDiscard(d.fd, uint64(s.off), n)
		return
	}
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_ZERO_RANGE)
	if s.punched = w.mayUnmap(s) && (s.kind == RequestDiscard || !d.noPunchHole.Load()); s.punched {
		mode = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE
	}
	e.Fallocate(d.fd, mode, uint64(s.off), n)
}

// cannotFallocate remembers what the Disk cannot do, and does without: a discard is a hint, zeroes are written.
func (w *worker) cannotFallocate(d *Device, s *slot) {
	switch {
	case s.kind == RequestDiscard:
		w.segmentDone(s, s.left)
	case s.punched:
		d.noPunchHole.Store(true)
		w.nextSegment(s)
	default:
		d.noZeroRange.Store(true)
		w.writeZeros(d, s)
	}
}

// writeZeros writes zeros over the whole units of the current segment, a piece at a time.
func (w *worker) writeZeros(d *Device, s *slot) {
	s.step = stepZeros
	n := s.left - s.left&d.offsetMask
	e := w.sqe(kindRequest, s.id)
	if n >= zeroSize {
		count := min(n/zeroSize, zeroIovecs)
		s.piece = uint32(count * zeroSize)
		e.Writev(d.fd, w.mem.zeros.iovecs, uint32(count), uint64(s.off), 0)
		return
	}
	s.piece = uint32(n)
	e.Write(d.fd, w.mem.zeros.addr, uint32(n), uint64(s.off))
}

// segmentDone advances the current segment: by n bytes that were written, or by what an fallocate was asked for.
func (w *worker) segmentDone(s *slot, n uint64) {
	if s.step == stepFallocate {
		n = max(n, uint64(s.piece)) // fallocate answers 0
	}
	n -= n & s.zeroMask()
	if n == 0 {
		w.retryLater(s, unix.EIO)
		return
	}
	s.retries = 0
	w.advance(s, n)
	if s.left == 0 {
		s.first++
		s.count--
	}
	w.nextSegment(s)
}

// zeroMask is what a short write of zeros is rounded down by: it goes on from a whole unit. Edges are done whole.
func (s *slot) zeroMask() uint64 {
	if s.step == stepZeros {
		return s.queue.dev.offsetMask
	}
	return 0
}

// segmentsDone completes the request; in write-through mode not before an fdatasync.
func (w *worker) segmentsDone(d *Device, s *slot) {
	w.releaseBuffer(s)
	if s.stable {
		w.beginFlush(d, s)
		return
	}
	w.finish(s, statusOK)
}
