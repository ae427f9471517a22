package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/vublk/vublk/internal/export"
)

// slot is what belongs to one name.
type slot struct {
	turn chan struct{} // holds one token while a verb runs

	mu      sync.Mutex // for the fields below: for moments only
	def     export.Definition
	export  *export.Export // nil: out of service
	drained bool
	// launching: the export is about to be made, for the first time since the daemon began
	launching bool
	ending    bool   // an export is on its way out
	failure   string // why there is none
	gone      bool   // deleted: the name belongs to another slot, or to nobody
	made      bool   // there is, or has been, an export of this name for others to see
}

func newSlot(d export.Definition) *slot { return &slot{turn: make(chan struct{}, 1), def: d} }

// enter waits for the caller's turn.
func (s *slot) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil { // a free turn is none for a call that has ended
		return err
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slot) leave() { <-s.turn }

// change changes the fields, and tells what export was there.
func (s *slot) change(f func()) (e *export.Export) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.export
	f()
	return e
}

func (s *slot) definition() export.Definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.def
}

func (s *slot) isLaunching() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launching
}

// present is the export if it is served, or is about to be.
func (s *slot) present() *export.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.export == nil || s.export.State() == export.Closed {
		return nil
	}
	return s.export
}

// openTime bounds the wait for an image that is being opened: after a restart of the daemon calls come at once.
const openTime = 5 * time.Second

// opened is present, after the image was opened, or ctx has ended, or the wait for it has become long.
func (s *slot) opened(ctx context.Context) *export.Export {
	e := s.present()
	if e == nil {
		return nil
	}
	select {
	case <-e.Ready():
	case <-ctx.Done():
	case <-time.After(openTime):
	}
	return s.present()
}
