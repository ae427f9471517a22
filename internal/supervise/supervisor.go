package supervise

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/resume"
)

// Options are the choices about a Supervisor.
type Options struct {
	Path string   // of the program
	Args []string // without its name
	// Inherited are descriptors that the program expects at their numbers, from 3 on; nil where there is none.
	Inherited []*os.File
	// Limit is how many deaths within a minute are too many; 0: none are.
	Limit int
	// StopTime is how long everything may take from the first signal to stop to the end; 0: 30 seconds.
	StopTime time.Duration
	// Pause is before a worker is started again that died before it was ready, at first: each is twice the one before, up to
	// 5 seconds. 0: 10 milliseconds.
	Pause time.Duration
	Log   *slog.Logger
	// Tell, when set, gets fields, NAME=value, for whoever has started the supervisor: READY and STATUS of sd_notify(3).
	Tell func(fields ...string)
}

// Supervisor keeps a worker running. Run has its only goroutine but for those that listen.
type Supervisor struct {
	o       Options
	store   store
	worker  *process
	next    *process      // in standby, to take the worker's place
	old     *os.File      // the program before an upgrade, until the new one is ready
	deaths  []time.Time   // within the last minute
	count   int           // of all deaths
	gone    time.Time     // when the last worker ended
	pause   time.Duration // before the next start: 0 when a worker has been ready since the last one
	settled bool          // some worker has been ready
	stop    stop
}

// window is the time that Options.Limit is about.
const window = time.Minute

// Options.Pause, and what it grows to.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 5 * time.Second
)

// standbyTime is how long a new program may take from its start until it waits for its turn, which is milliseconds.
const standbyTime = 10 * time.Second

// handOverTime is after how long it is said that a worker does not come to an end.
const handOverTime = 10 * time.Second

// New makes a Supervisor.
func New(o Options) *Supervisor {
	if o.Tell == nil {
		o.Tell = func(...string) {}
	}
	if o.StopTime == 0 {
		o.StopTime = stopTime
	}
	if o.Pause == 0 {
		o.Pause = firstPause
	}
	return &Supervisor{o: o, store: newStore()}
}

// Run keeps the worker running until it ends in order, and returns its exit status. Signals are passed on, but for
// SIGUSR2, which replaces the worker by what program has the name now. SIGTERM and SIGINT end it in order: what a worker
// that is dead by then has left is finished by another one. The second of them ends it at once. An error says that the
// supervisor gave up. No socket that a worker has had kept has its name afterwards.
func (s *Supervisor) Run(signals <-chan os.Signal) (status int, err error) {
	defer func() {
		if err := s.store.close(); err != nil {
			s.o.Log.Warn("a socket's name stays behind", "error", err)
		}
	}()
	program, err := os.Open(s.o.Path)
	if err != nil {
		return 0, errors.Wrap(err, "open the program to supervise")
	}
	if s.worker, err = s.begin(program); err != nil {
		_ = program.Close()
		return 0, err
	}
	defer s.end()
	s.pause = s.o.Pause
	for {
		s.attend(signals)
		if s.over() {
			return max(s.worker.state.ExitCode(), 0), s.stop.cut
		}
		if err := s.mourn(); err != nil {
			return 0, err
		}
		resting := s.pause > 0 && !s.stopping()
		s.rest(signals)
		if s.stop.cut != nil || resting && s.stopping() && !s.store.owes() {
			return 0, s.stop.cut
		}
		if err := s.restart(); err != nil {
			return 0, err
		}
	}
}

// end lets go of the programs, and of a worker in standby: it ends when nobody is there to hand it anything.
func (s *Supervisor) end() {
	s.worker.bury()
	_ = s.worker.program.Close()
	if s.old != nil {
		_ = s.old.Close()
	}
	if s.next != nil {
		s.next.signal(syscall.SIGKILL)
		s.next.bury()
		_ = s.next.program.Close()
	}
}

// begin starts a worker and hands it what is kept.
func (s *Supervisor) begin(program *os.File) (*process, error) {
	p, err := s.spawn(program)
	if err != nil {
		return nil, err
	}
	s.o.Log.Info("worker started", "pid", p.pid())
	s.handOut(p)
	return p, nil
}

// handOut gives what is kept to a worker that waits for it. One that has not got all of it would wait for ever: it dies, if
// it has not yet, and that is seen next.
func (s *Supervisor) handOut(p *process) (done bool) {
	err := s.store.handOut(p.sock.Int())
	if err != nil {
		s.o.Log.Warn("the worker does not take what is kept", "pid", p.pid(), "error", err)
		p.signal(syscall.SIGKILL)
	}
	return err == nil
}

// attend watches the worker until it has died.
func (s *Supervisor) attend(signals <-chan os.Signal) {
	for {
		select {
		case sig := <-signals:
			s.signal(sig)
		case said := <-s.worker.said:
			s.heard(said)
		case <-s.standby():
			s.o.Log.Info("upgrade: the new worker is there, the old one hands over", "pid", s.next.pid())
			if err := resume.AskHandOver(s.worker.sock.Int()); err != nil {
				s.o.Log.Error("upgrade: the worker cannot be asked", "error", err)
			}
			s.handOver(signals)
		case <-s.nextEnded():
			s.o.Log.Error("upgrade: the new program does not start; the old one goes on", "reason", s.next.died())
			s.next.bury()
			_ = s.next.program.Close()
			s.next = nil
		case <-s.worker.ended:
			s.hear()
			return
		case <-s.stop.late:
			s.stop.late = nil
			s.expire()
		}
	}
}

// heard takes note of what the worker says.
func (s *Supervisor) heard(said map[string]string) {
	if said[resume.FieldReady] != "" {
		s.settle()
		s.o.Tell(resume.FieldReady+"=1", fmt.Sprintf("%s=worker %d serves, %d deaths so far", resume.FieldStatus, s.worker.pid(), s.count))
	}
	if name := said[resume.FieldServed]; name != "" {
		s.o.Log.Info("served again", "export", name, "pid", s.worker.pid(), "stall", s.stall())
	}
}

// hear takes note of the last words of a worker.
func (s *Supervisor) hear() {
	for {
		select {
		case said := <-s.worker.said:
			s.heard(said)
		default:
			return
		}
	}
}

// stall is how long ago the last worker ended.
func (s *Supervisor) stall() time.Duration {
	if s.gone.IsZero() {
		return 0
	}
	return time.Since(s.gone).Round(10 * time.Microsecond)
}

func (s *Supervisor) signal(sig os.Signal) {
	switch {
	case stops(sig):
		s.terminate(sig)
	case sig == syscall.SIGUSR2:
		s.upgrade()
	default:
		s.worker.signal(sig)
	}
}

// mourn takes note of the death of a worker. An error says that there are too many.
func (s *Supervisor) mourn() error {
	s.worker.bury()
	now := time.Now()
	s.gone = now
	s.count++
	s.deaths = append(s.deaths, now)
	for now.Sub(s.deaths[0]) > window {
		s.deaths = s.deaths[1:]
	}
	s.o.Tell(fmt.Sprintf("%s=worker %d died (%s), %d deaths so far: starting another", resume.FieldStatus, s.worker.pid(), s.worker.died(), s.count))
	args := []any{"pid", s.worker.pid(), "reason", s.worker.died(), "deaths", s.count, "within_a_minute", len(s.deaths)}
	if s.o.Limit > 0 && len(s.deaths) > s.o.Limit {
		s.o.Log.Error("the worker has died", args...)
		return errors.Errorf("the worker died %d times within a minute, the last time by this: %s; giving up (see --restart-limit)", len(s.deaths), s.worker.died())
	}
	if s.old != nil { // the upgrade has not survived its first moments
		s.rollBack("died before it was ready")
	}
	s.o.Log.Warn("the worker has died, starting another", append(args, "pause", s.pause)...)
	return nil
}

// restart starts another worker in the place of a dead one. While it all comes to its end, that one has to finish what the
// dead one has left.
func (s *Supervisor) restart() error {
	p, err := s.begin(s.worker.program)
	if err != nil && s.old != nil {
		s.rollBack("cannot be started")
		p, err = s.begin(s.worker.program)
	}
	if err != nil {
		return err
	}
	s.worker, s.pause = p, min(max(2*s.pause, s.o.Pause), longestPause)
	if s.stopping() {
		s.worker.signal(syscall.SIGTERM)
	}
	return nil
}
