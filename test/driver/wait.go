package driver

import (
	"runtime"
	"time"

	"github.com/pkg/errors"
)

// Patience is how long Do waits.
const Patience = 20 * time.Second

// glance is the time between looks at whether the back-end is dead.
const glance = 10 * time.Millisecond

// ErrDead tells that the back-end that was waited for is dead.
var ErrDead = errors.New("the back-end is dead")

// Next waits for the next completion, for so long at most. It returns what Reap does; ok is false when there is none.
func (q *Queue) Next(limit time.Duration) (slot int, ok bool, err error) {
	for deadline := time.Now().Add(limit); ; {
		slot, ok, err := q.Reap()
		if ok || err != nil {
			return slot, ok, err
		}
		if q.options.Poll {
			runtime.Gosched()
		} else if q.ring.EnableCalls() {
			continue
		}
		left := time.Until(deadline)
		switch {
		case q.options.Dead != nil && q.options.Dead.Load():
			return 0, false, ErrDead
		case left <= 0:
			return 0, false, nil
		case q.options.Poll:
			continue
		}
		if _, err := q.ring.WaitCall(min(left, glance)); err != nil {
			return 0, false, err
		}
	}
}

// Do makes one request and waits for its end. Nothing else may be in flight.
func (q *Queue) Do(r Request) error {
	if err := q.Submit(0, r); err != nil {
		return errors.Wrap(err, r.String())
	}
	slot, ok, err := q.Next(Patience)
	switch {
	case ok && slot != 0:
		return errors.Errorf("%v: slot %d ends", r, slot)
	case err == nil && !ok:
		err = errors.New("it does not end")
	}
	return errors.Wrap(err, r.String())
}
