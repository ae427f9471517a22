package replay

import (
	"os"

	"github.com/pkg/errors"
)

// stable is what is on the disk for good, while a log is replayed.
type stable struct {
	disk    []byte
	pending []entry // written, and not covered by a flush yet

	flushes, fuas, writes int // entries so far
}

// point is a moment at which something became stable.
type point struct {
	number int    // the first is 1
	index  uint64 // entries that the log has then
	disk   []byte // valid until the next
}

// observer looks on.
type observer struct {
	// entry sees each entry before it has any effect; false has it left out, as if the disk had lost it. May be nil.
	entry func(entry) bool
	// before is called when the next point will have this index: the disk is still what it was since the last one. May be nil.
	before func(index uint64, disk []byte) error
	// point is called at each point. May be nil.
	point func(point) error
}

// replay replays a log onto disk, which holds what was there before and is changed. It returns the numbers of entries.
func replay(path string, disk []byte, o observer) (*stable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Wrap(err, "log")
	}
	defer func() { _ = f.Close() }()
	log, err := newLogReader(f)
	if err != nil {
		return nil, err
	}
	s, number := &stable{disk: disk}, 0
	for {
		e, more, err := log.read()
		if err != nil {
			return nil, err
		}
		if !more {
			return s, nil
		}
		if o.entry != nil && !o.entry(e) {
			continue
		}
		if e.flags&(flagFlush|flagFUA) != 0 && o.before != nil {
			if err := o.before(e.index, s.disk); err != nil {
				return nil, err
			}
		}
		grown, err := s.take(e)
		if err != nil {
			return nil, err
		}
		if !grown {
			continue
		}
		number++
		if o.point == nil {
			continue
		}
		if err := o.point(point{number: number, index: e.index, disk: s.disk}); err != nil {
			return nil, errors.Wrapf(err, "flush point %d, after entry %d", number, e.index)
		}
	}
}

// take does what an entry does. It tells whether anything is stable that was not.
func (s *stable) take(e entry) (grown bool, err error) {
	if e.offset+e.length > int64(len(s.disk)) {
		return false, errors.Errorf("entry %d: bytes %d+%d of a disk of %d", e.index, e.offset, e.length, len(s.disk))
	}
	if e.flags&flagFlush != 0 { // of what was before: data that it carries itself comes after (REQ_PREFLUSH)
		s.flushes++
		for _, p := range s.pending {
			s.apply(p)
		}
		s.pending, grown = s.pending[:0], true
	}
	if e.length == 0 || e.flags&flagMark != 0 {
		return grown, nil
	}
	s.writes++
	// A write with FUA stays pending all the same: older ones, flushed later, must not cover it.
	s.pending = append(s.pending, e)
	if e.flags&flagFUA != 0 {
		s.fuas++
		s.apply(e)
		grown = true
	}
	return grown, nil
}

// apply writes. What is discarded reads as zeros here; the loads do not ask what it reads as.
func (s *stable) apply(e entry) {
	to := s.disk[e.offset : e.offset+e.length]
	if e.flags&flagDiscard != 0 {
		clear(to)
		return
	}
	copy(to, e.data)
}
