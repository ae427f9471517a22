package supervise

import (
	"os"
	"syscall"
	"time"
)

// upgrade starts what program has the name now, in standby. The worker serves until that one is there.
func (s *Supervisor) upgrade() {
	switch {
	case s.stopping():
		return
	case s.next != nil:
		s.o.Log.Warn("upgrade: one is under way already")
		return
	}
	program, err := os.Open(s.o.Path)
	if err == nil {
		s.next, err = s.spawn(program)
	}
	if err != nil {
		s.o.Log.Error("upgrade: the program cannot be started; the old one goes on", "error", err)
		_ = program.Close()
		return
	}
	next := s.next
	time.AfterFunc(standbyTime, func() {
		select {
		case <-next.standby:
		default:
			next.signal(syscall.SIGKILL) // its end is seen
		}
	})
}

// renew has the next worker be what program has the name now, while there is none that could hand over: a program that dies
// again and again is mended so.
func (s *Supervisor) renew() {
	if s.next != nil {
		s.o.Log.Warn("upgrade: one is under way already")
		return
	}
	program, err := os.Open(s.o.Path)
	if err != nil {
		s.o.Log.Error("upgrade: the program cannot be opened; the old one is started again", "error", err)
		return
	}
	s.o.Log.Info("upgrade: the next worker is the new program")
	s.keepOld()
	s.worker.program = program
}

// keepOld keeps the worker's program until the one that takes its place is ready.
func (s *Supervisor) keepOld() {
	if s.old == nil {
		s.old = s.worker.program
	} else { // this one was never ready, so it is no program to go back to
		_ = s.worker.program.Close()
	}
}

// rollBack goes back to it.
func (s *Supervisor) rollBack(why string) {
	s.o.Log.Error("upgrade: the new program " + why + "; the old one takes its place again")
	_ = s.worker.program.Close()
	s.worker.program, s.old = s.old, nil
}

// standby is closed when the next worker waits for its turn; nil: there is none, or it will not come.
func (s *Supervisor) standby() <-chan struct{} {
	if s.next == nil || s.stopping() {
		return nil
	}
	return s.next.standby
}

func (s *Supervisor) nextEnded() <-chan struct{} {
	if s.next == nil || s.stopping() {
		return nil
	}
	return s.next.ended
}

// handOver waits for the end of the worker that was asked to hand over, and puts the next one in its place.
func (s *Supervisor) handOver(signals <-chan os.Signal) {
	late := time.NewTimer(handOverTime)
	defer late.Stop()
	begun := time.Now()
	for waiting := true; waiting; {
		select {
		case sig := <-signals:
			if stops(sig) {
				s.terminate(sig)
			} else {
				s.worker.signal(sig)
			}
		case <-s.stop.late:
			s.stop.late = nil
			s.expire()
		case <-late.C:
			s.o.Log.Warn("upgrade: the old worker has not ended yet; requests may hang in a disk", "pid", s.worker.pid(), "waited", handOverTime)
		case <-s.worker.ended:
			waiting = false
		}
	}
	if s.stop.cut != nil {
		return
	}
	if code := s.worker.state.ExitCode(); code != 0 {
		s.o.Log.Warn("upgrade: the old worker did not end well; the new one resumes as after a death", "reason", s.worker.died())
	}
	s.hear()
	s.worker.bury()
	s.gone = time.Now()
	s.keepOld()
	s.worker, s.next = s.next, nil
	if !s.handOut(s.worker) {
		return // it is dead: the old program resumes what was left to it
	}
	if s.stopping() { // the old worker was told, and ended, but left everything to this one
		s.worker.signal(syscall.SIGTERM)
	}
	s.o.Log.Info("upgrade: handed over", "pid", s.worker.pid(), "took", time.Since(begun).Round(10*time.Microsecond))
}

// settle notes that the worker is ready: there is no way back from an upgrade any more.
func (s *Supervisor) settle() {
	s.settled, s.pause = true, 0
	if s.old != nil {
		_ = s.old.Close()
		s.old = nil
	}
}
