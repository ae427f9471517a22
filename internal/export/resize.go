package export

import (
	"sync"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
)

// Resized is what a look at the size of an export's disk has found, in bytes.
type Resized struct {
	Old int64 // what the guest had
	New int64 // what the disk has, and the guest too unless there was an error
}

// Changed tells whether the disk has not the size that the guest had.
func (r Resized) Changed() bool { return r.Old != r.New }

// Reasons for which there is no size to look at.
var (
	ErrNotServing = errors.New("the export is not open yet, or not any more")
	ErrFixedSize  = errors.New("a store keeps the size that it was given")
)

// Resize looks at the size of the export's disk and gives it to the guest, while everything runs. The front-end is told
// by one CONFIG_CHANGE, as soon as it has a ring started; one that comes back later is told then (vhostuser.Session).
// A size that is not a whole number of blocks is refused, as is a smaller one without force and without allow-shrink,
// and another file in the place of the one that was opened; ErrNotServing and ErrFixedSize say that there was nothing to
// look at. Any goroutine may call it.
func (e *Export) Resize(force bool) (Resized, error) {
	return e.resized(func(s *sizer) (Resized, error) { return s.look(force) })
}

// SetSize makes the image that long, in bytes, and gives that size to the guest as Resize does; shrink says that it may be
// smaller than now. Only a regular file that is ours can be made longer or shorter. After an error it has the size it had, if
// that could be given back. Any goroutine may call it.
func (e *Export) SetSize(size int64, shrink bool) (Resized, error) {
	return e.resized(func(s *sizer) (Resized, error) { return s.set(size, shrink) })
}

// resized has the size looked at, and tells the front-end when it has changed.
func (e *Export) resized(look func(*sizer) (Resized, error)) (Resized, error) {
	select {
	case <-e.ready:
	default:
		return Resized{}, ErrNotServing
	}
	switch {
	case !e.listened:
		return Resized{}, ErrNotServing
	case e.parts.sizes == nil:
		return Resized{Old: e.parts.info.Size, New: e.parts.info.Size}, ErrFixedSize
	}
	r, err := look(e.parts.sizes)
	if err == nil && r.Changed() {
		e.configChanged()
	}
	return r, err
}

// configChanged passes a change of the configuration space on to the session that runs, or that goes on after it was
// suspended. It does not block.
func (e *Export) configChanged() {
	e.untold.Store(true)
	e.tell()
}

func (e *Export) tell() {
	if s := e.session.Load(); s != nil && e.untold.Swap(false) {
		s.ConfigChanged()
	}
}

// sizer follows the size of a disk for its device. Any goroutine may ask it to look.
type sizer struct {
	file        *blk.FileDisk // nil: a Disk that knows its size by itself
	device      *blk.Device
	allowShrink bool

	mu     sync.Mutex // what was measured is compared and adopted before anybody measures again
	closed bool
}

// look makes the size that the image has now the device's. When the image was another user's meanwhile, the lock must be
// ours again.
func (s *sizer) look(force bool) (Resized, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Resized{}, ErrNotServing
	}
	if s.file != nil {
		if err := s.file.Changed(); err != nil {
			return Resized{}, err
		}
		if _, err := s.file.Measure(); err != nil {
			return Resized{}, err
		}
	}
	had, has, err := s.device.Resize(force || s.allowShrink)
	return Resized{Old: had, New: has}, err
}

// set makes the image that long, and looks.
func (s *sizer) set(size int64, shrink bool) (Resized, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return Resized{}, ErrNotServing
	}
	if s.file == nil {
		s.mu.Unlock()
		size := s.device.Capacity()
		return Resized{Old: size, New: size}, ErrFixedSize
	}
	before, err := s.file.Truncate(size, shrink)
	s.mu.Unlock()
	if err != nil {
		return Resized{Old: before, New: before}, err
	}
	r, err := s.look(shrink)
	if err != nil && size > before { // nothing was lost by it, and nothing is by taking it back
		if _, e := s.file.Truncate(before, true); e != nil {
			err = errors.Wrapf(err, "%v; before that", e)
		}
		_, _ = s.look(false)
	}
	return r, err
}

// close ends the looks: the image is about to be closed.
func (s *sizer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
