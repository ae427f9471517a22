package blk

import (
	"encoding/binary"
	"math"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// begin takes the fetched chain apart and sets its request going. What needs no Disk is done when it returns.
func (w *worker) begin(q *queue, s *slot) {
	s.reset(q, w.chain.Token, w.now)
	q.inflight++
	q.gate.active++
	q.gen.inflight++
	r := &w.req
	if !r.parse(w.chain) {
		q.count.malformed++
		w.finish(s, statusIOErr) // without a place for the status: used length 0
		return
	}
	d := q.dev
	if r.kind&requestBarrier != 0 {
		q.count.barriers++
		s.fenced = d.acked().Has(FeatureBarrier) // else the flag says nothing
		r.kind &^= requestBarrier                // before anything looks at the type
	}
	s.kind, s.answer[0] = r.kind, r.status
	switch r.kind {
	case RequestIn:
		s.op, s.bytes = opRead, r.writableLen
		w.beginData(d, s, r.sector, r.writable, r.writableLen)
	case RequestOut:
		s.op, s.bytes = opWrite, r.readableLen
		if d.opt.ReadOnly {
			w.finish(s, statusIOErr)
			return
		}
		w.beginData(d, s, r.sector, r.readable, r.readableLen)
	case RequestFlush, RequestFlushOut:
		s.op = opFlush
		w.start(s)
	case RequestGetID:
		s.op = opOther
		w.beginGetID(d, s, r)
	case RequestDiscard:
		s.op = opDiscard
		w.beginSegments(d, s, r, virtio.Features(FeatureDiscard))
	case RequestWriteZeroes:
		s.op = opWriteZeroes
		w.beginSegments(d, s, r, virtio.Features(FeatureWriteZeroes))
	default:
		s.op = opOther
		w.finish(s, statusUnsupp)
	}
}

// beginData starts a read or a write of n bytes from sector on.
func (w *worker) beginData(d *Device, s *slot, sector uint64, data []guestmem.Iovec, n uint64) {
	if !d.inRange(sector, n) {
		w.finish(s, statusIOErr)
		return
	}
	if n == 0 {
		w.finish(s, statusOK)
		return
	}
	s.off, s.left = int64(sector)*SectorSize, n
	if d.inline != nil && !s.fenced {
		w.dataInline(d, s, data)
		return
	}
	s.stable = s.kind == RequestOut && d.stable.Load()
	s.lo, s.hi = s.off, s.off+int64(n)
	w.fillRow(s, data)
	w.start(s)
}

// start sets a request going that has been checked and needs nothing of its chain any more. A barrier waits first.
func (w *worker) start(s *slot) {
	if s.fenced {
		w.park(s)
		return
	}
	w.proceed(s)
}

// proceed is start, after the barrier.
func (w *worker) proceed(s *slot) {
	d := s.queue.dev
	switch s.kind {
	case RequestIn, RequestOut:
		if d.inline != nil {
			w.dataInlineLater(d, s)
		} else if s.kind == RequestIn || w.takeRange(s, s.lo, s.hi) {
			w.submitData(s)
		}
	case RequestDiscard, RequestWriteZeroes:
		if s.lo >= s.hi || w.takeRange(s, s.lo, s.hi) {
			w.nextSegment(s)
		}
	case RequestFlush, RequestFlushOut:
		w.beginFlush(d, s)
	default:
		w.finish(s, statusOK)
	}
}

// dataInlineLater is dataInline outside the guard of a fetch.
func (w *worker) dataInlineLater(d *Device, s *slot) {
	if err := guarded(func() error { w.dataInline(d, s, w.row(s)); return nil }); err != nil {
		w.copyFailed(s, err)
	}
}

func (w *worker) dataInline(d *Device, s *slot, data []guestmem.Iovec) {
	if s.kind == RequestIn {
		d.inline.Read(data, s.off)
		if s.queue.gate.log != nil {
			s.mark(data, s.left)
		}
		s.written = uint32(s.left)
	} else {
		d.inline.Write(data, s.off)
	}
	w.finish(s, statusOK)
}

// inRange checks a range of the device as a driver gives it: whole logical blocks, inside the capacity, without
// trusting a sum that may wrap.
func (d *Device) inRange(sector, n uint64) bool {
	capacity := d.capacity.Load()
	sectors := n / SectorSize
	return n%uint64(d.opt.LogicalBlockSize) == 0 && sector%(uint64(d.opt.LogicalBlockSize)/SectorSize) == 0 &&
		sector <= capacity && sectors <= capacity-sector
}

func (w *worker) beginGetID(d *Device, s *slot, r *request) {
	id := d.serial[:min(uint64(len(d.serial)), r.writableLen)]
	s.written = uint32(guestmem.CopyOut(r.writable, id))
	if s.queue.gate.log != nil {
		s.mark(r.writable, uint64(s.written))
	}
	w.start(s)
}

// segmentSize is the size of struct virtio_blk_discard_write_zeroes: u64 sector, u32 sectors, u32 flags.
const segmentSize = 16

// segmentUnmap is the flag of a write-zeroes segment that may be deallocated.
const segmentUnmap = 1

// unmapBit marks such a segment in the slot's row, above any length that a segment can have.
const unmapBit = 1 << 63

// beginSegments starts a discard or write-zeroes request: all its segments are copied and checked before the first
// takes effect.
func (w *worker) beginSegments(d *Device, s *slot, r *request, needs virtio.Features) {
	n := r.readableLen / segmentSize
	switch {
	case !d.acked().Has(needs):
		w.finish(s, statusUnsupp)
		return
	case d.opt.ReadOnly || n == 0 || r.readableLen%segmentSize != 0:
		w.finish(s, statusIOErr)
		return
	case n > uint64(d.opt.MaxDiscardSegs):
		w.finish(s, statusUnsupp)
		return
	}
	lo, hi := int64(math.MaxInt64), int64(0)
	s.first, s.count = 0, int32(n)
	row := w.row(s)
	bytes := uint64(0)
	var raw [segmentSize]byte
	for i := range row {
		guestmem.CopyIn(raw[:], r.readable)
		r.readable = guestmem.Advance(r.readable, segmentSize)
		seg, status := d.checkSegment(s.kind, &raw)
		if status != statusOK {
			w.finish(s, status)
			return
		}
		row[i] = seg
		length := int64(seg.Len &^ unmapBit)
		bytes += uint64(length)
		s.part = s.part || s.kind == RequestWriteZeroes && (seg.Base|uint64(length))&d.offsetMask != 0
		lo, hi = min(lo, int64(seg.Base)), max(hi, int64(seg.Base)+length)
	}
	s.bytes = bytes
	s.stable = d.stable.Load()
	s.lo, s.hi = lo, hi
	w.start(s)
}

// checkSegment returns a segment as bytes of the Disk.
func (d *Device) checkSegment(kind RequestType, raw *[segmentSize]byte) (guestmem.Iovec, byte) {
	sector := binary.LittleEndian.Uint64(raw[0:])
	sectors := binary.LittleEndian.Uint32(raw[8:])
	flags := binary.LittleEndian.Uint32(raw[12:])
	known := uint32(0)
	if kind == RequestWriteZeroes {
		known = segmentUnmap
	}
	switch {
	case flags&^known != 0:
		return guestmem.Iovec{}, statusUnsupp
	case sectors > maxDiscardSectors || !d.inRange(sector, uint64(sectors)*SectorSize):
		return guestmem.Iovec{}, statusIOErr
	}
	length := uint64(sectors) * SectorSize
	if flags&segmentUnmap != 0 {
		length |= unmapBit
	}
	return guestmem.Iovec{Base: sector * SectorSize, Len: length}, statusOK
}
