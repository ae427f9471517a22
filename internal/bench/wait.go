package bench

import (
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/virtiotest"
)

// errStopped ends a loop because another one failed or the caller gave up.
var errStopped = errors.New("stopped")

// nap is how long a sleeping driver does without a look at the clock.
const nap = 100 * time.Millisecond

// wait returns the next completion, or nothing when the clock has moved enough for the caller to look at it.
func (l *loop) wait() (virtiotest.Completion, bool, error) {
	if l.self != nil {
		l.self.turn(l.self)
		return l.driver.Reap()
	}
	if l.config.Wait == Sleeping {
		return l.sleep()
	}
	for range clockEvery {
		c, ok, err := l.driver.Reap()
		if ok || err != nil {
			return c, ok, err
		}
	}
	return virtiotest.Completion{}, false, l.patient()
}

// sleep waits for a call. The used ring is looked at again after the device was asked for one.
func (l *loop) sleep() (virtiotest.Completion, bool, error) {
	if !l.driver.EnableCalls() {
		l.count.sleeps++
		if _, err := l.driver.WaitCall(nap); err != nil {
			return virtiotest.Completion{}, false, err
		}
	}
	l.driver.DisableCalls()
	c, ok, err := l.driver.Reap()
	if !ok && err == nil {
		err = l.patient()
	}
	return c, ok, err
}

// silence is after how long without a completion, and how often from then on, the connection is looked at: a back-end that has
// died will not answer.
const silence = 200 * time.Millisecond

// patient tells when it is time to give up.
func (l *loop) patient() error {
	now := l.tick()
	switch {
	case l.stop.Load():
		return errStopped
	case now-l.heard > l.config.Patience:
		return errors.Errorf("no completion for %v, %d requests in flight", l.config.Patience, l.flying)
	case now-max(l.heard, l.asked) > silence:
		if l.asked = now; l.config.ended != nil && l.config.ended() {
			return errors.Errorf("the back-end has ended, or has closed the connection, with %d requests in flight", l.flying)
		}
	}
	return nil
}
