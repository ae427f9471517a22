package daemon

import (
	"github.com/vublk/vublk/internal/export"
)

// State is where an export is in its life.
type State int

// The states of an export: those of package export, and two in which there is none.
const (
	Created State = iota
	WaitingForLock
	Listening
	Attached
	Draining
	Drained // out of service because Drain asked for it
	Failed  // out of service because of an error
)

var stateNames = [...]string{"created", "waiting for lock", "listening", "attached", "draining", "drained", "failed"}

func (s State) String() string { return stateNames[s] }

// states are those of an export that is there; a closed one has failed.
var states = map[export.State]State{
	export.Created: Created, export.WaitingForLock: WaitingForLock, export.Listening: Listening, export.Attached: Attached,
	export.Draining: Draining, export.Closed: Failed,
}

// Status is an export as it is now.
type Status struct {
	Definition    export.Definition
	State         State
	Error         string // why it is out of service, of Failed
	Capacity      int64  // bytes; 0: nothing is open
	FrontEnd      string // who is connected; "": nobody
	FlushError    bool   // flushes fail until ClearError
	RunningQueues int
	BrokenQueues  int // of these: not served until the driver resets the device
	Resumes       uint64
}

// status looks at an export. It waits for nobody.
func (s *slot) status() Status {
	state, failure, e := s.state()
	st := Status{Definition: s.definition(), State: state, Error: failure}
	if e == nil {
		return st
	}
	st.Capacity, st.FrontEnd, st.FlushError = e.Capacity(), e.FrontEnd(), e.FlushFailed()
	counted := e.Stats()
	st.Resumes = counted.Resumes
	for _, q := range counted.Device.Queues {
		if q.Worker >= 0 {
			st.RunningQueues++
			if q.Dead {
				st.BrokenQueues++
			}
		}
	}
	return st
}

// state is status without what the workers are asked for. It returns the export if it is open, or is about to be.
func (s *slot) state() (st State, failure string, e *export.Export) {
	s.mu.Lock()
	failure, e = s.failure, s.export
	drained, ending, launching := s.drained, s.ending, s.launching
	s.mu.Unlock()
	switch {
	case ending && (e == nil || e.State() == export.Closed): // or another takes its place
		return Draining, "", nil
	case launching:
		return Created, failure, nil
	case e == nil && drained:
		return Drained, "", nil
	case e == nil:
		return Failed, failure, nil
	}
	if st = states[e.State()]; st == Failed {
		return st, whyEnded(e), nil
	}
	return st, "", e
}

// whyEnded is why an export has ended that nobody has told to.
func whyEnded(e *export.Export) string {
	select {
	case <-e.Done():
		if err := e.Err(); err != nil {
			return err.Error()
		}
	default: // almost
	}
	return "ended"
}
