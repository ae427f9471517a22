package driver

import (
	"sync/atomic"
	"time"
)

// Turn is when the last turn in a back-end's life was: it began to die, was dead, or was there again. Any goroutine may call its
// methods.
type Turn struct{ at atomic.Pointer[time.Time] }

// Mark says that one is now.
func (t *Turn) Mark() {
	now := time.Now()
	t.at.Store(&now)
}

// Since is how long the back-end has had for what began at some time: a turn begins that anew, as a FLUSH that
// is in flight each time is done again each time, by a process that must be there first. One must have been marked.
func (t *Turn) Since(begun time.Time) time.Duration {
	return min(time.Since(begun), time.Since(*t.at.Load()))
}
