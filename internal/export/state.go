package export

import (
	"fmt"
	"sync/atomic"
)

// State is where an export is in its life; doc.go draws the ways between them.
type State int32

// The states of an export.
const (
	Created        State = iota // nothing is open
	WaitingForLock              // the disk is being opened, another process may still have it; or its peers' disks and sockets are
	Listening                   // no front-end; with --connect: looking for one
	Attached                    // a session runs
	Draining                    // requests end, then fdatasync
	Closed                      // nothing is open, nothing follows
)

var stateNames = [...]string{"created", "waiting for lock", "listening", "attached", "draining", "closed"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int32(s))
	}
	return stateNames[s]
}

// Served tells whether a front-end is served, or may come.
func (s State) Served() bool { return s == Listening || s == Attached || s == Draining }

// ways lists the states that may follow each state.
var ways = [...][]State{
	Created:        {WaitingForLock, Closed},
	WaitingForLock: {Listening, Closed},
	Listening:      {Attached, Closed},
	Attached:       {Draining},
	Draining:       {Listening, Closed},
	Closed:         {},
}

// state is a State with one writer, the runner, and any number of readers.
type state struct {
	now     atomic.Int32
	changed func(State) // told of each change; nil: nobody is
}

func (s *state) load() State { return State(s.now.Load()) }

// change goes to the next state. A way that doc.go does not draw is a bug of ours, in no one's hands but the runner's.
func (s *state) change(next State) {
	now := s.load()
	for _, w := range ways[now] {
		if w == next {
			s.now.Store(int32(next))
			if s.changed != nil {
				s.changed(next)
			}
			return
		}
	}
	panic(fmt.Sprintf("export: no way from %v to %v", now, next))
}
