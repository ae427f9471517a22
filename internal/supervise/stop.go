package supervise

import (
	"os"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// stopTime bounds a stop. A worker gives its requests 5 seconds and says what does not end; there may be one that hands over,
// one that takes over, and one that finishes what a dead one has left.
const stopTime = 30 * time.Second

// sameSignal is for how long a further signal is taken for an echo of the first one: timeout(1), for one, signals its
// child and then the process group.
const sameSignal = 500 * time.Millisecond

// stop is the end that somebody has asked for.
type stop struct {
	begun time.Time        // zero: nobody has
	late  <-chan time.Time // when nothing is waited for any more
	cut   error            // why everything ends at once
}

// stops tells whether a signal asks for the end.
func stops(sig os.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGINT }

func (s *Supervisor) stopping() bool { return !s.stop.begun.IsZero() }

// terminate tells the worker to end; the second time it ends everything at once.
func (s *Supervisor) terminate(sig os.Signal) {
	switch {
	case !s.stopping():
		s.stop.begun, s.stop.late = time.Now(), time.After(s.o.StopTime)
		s.worker.signal(sig)
	case time.Since(s.stop.begun) >= sameSignal:
		s.cut(errors.Errorf("second signal (%v): ended at once; writes that no flush covered may be lost", sig))
	}
}

// expire ends a stop that takes too long.
func (s *Supervisor) expire() {
	s.cut(errors.Errorf("gave up after %v: the worker does not end", s.o.StopTime))
}

// cut kills everybody. The reason is Run's error.
func (s *Supervisor) cut(reason error) {
	s.stop.cut = reason
	s.worker.signal(syscall.SIGKILL)
	if s.next != nil {
		s.next.signal(syscall.SIGKILL)
	}
}

// over tells whether the end of the worker is the end of the supervisor as well.
func (s *Supervisor) over() bool {
	status, exited := s.worker.state.ExitCode(), s.worker.state.Exited()
	switch {
	case s.stop.cut != nil, s.stopping() && status == 0:
		return true
	case s.old != nil:
		return false // a program that ends before it is ready has no say: there is one that works
	case s.stopping() && exited && s.worker.told():
		return true // it could not end well, and has said why; another one could do no better
	}
	// A status of its own choice ends it all; before it was ever ready, so does any. Whoever is killed while it comes to its
	// end leaves that to another one.
	return status == 0 || !s.settled && exited
}

// rest lets the pause before a start pass. A signal to stop ends it: somebody waits for that.
func (s *Supervisor) rest(signals <-chan os.Signal) {
	if s.pause == 0 {
		return
	}
	timer := time.NewTimer(s.pause)
	defer timer.Stop()
	for {
		select {
		case sig := <-signals:
			first := !s.stopping()
			switch {
			case stops(sig):
				s.terminate(sig)
			case sig == syscall.SIGUSR2 && first:
				s.renew()
			}
			if s.stop.cut != nil || first && s.stopping() {
				return
			}
		case <-s.stop.late:
			s.expire()
			return
		case <-timer.C:
			return
		}
	}
}
