package cli

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/insight"
	"github.com/vublk/vublk/internal/resume"
)

// drainTime is how long requests may take to end after the first signal.
const drainTime = 5 * time.Second

// sameSignal is for how long a further signal is taken for an echo of the first one: timeout(1), for one, signals its
// child and then the process group.
const sameSignal = 500 * time.Millisecond

// spareProcs is how many threads may run Go code beside the workers: sessions, the garbage collector, sysmon's netpoll.
// With none to spare a worker that returns from the kernel waits milliseconds for its turn.
const spareProcs = 3

// ServeOptions are what Serve needs.
type ServeOptions struct {
	Definitions []export.Definition
	Where       string // where the options were written, for messages: "--", "--export "
	TakeOver    bool   // the exports are served by another process, which gives them up
	Workers     int    // 0: as many as CPUs, or as this process may run on
	CPUs        []int  // of the workers; empty: wherever the kernel likes
	Poll        string
	Log         *LogOptions
	Stderr      io.Writer
}

// server is a Serve that runs.
type server struct {
	o        ServeOptions
	log      *slog.Logger
	signals  chan os.Signal
	stopped  time.Time        // when the first of them came
	late     <-chan time.Time // when a start that was told to stop takes too long
	clear    chan os.Signal   // SIGUSR1
	upgrade  chan os.Signal   // SIGUSR2, which is a supervisor's
	hangup   chan os.Signal   // SIGHUP
	holder   *resume.Holder   // nil: nobody takes our place
	handOver chan error       // nil: the holder wants that; an error: it has died

	inherited bool // a predecessor has left something
	registry  *export.Registry
	tidier    *tidier
	exports   []*export.Export
}

// Serve runs the exports until SIGTERM or SIGINT, or until all of them have ended by themselves. The error it returns
// knows its exit status.
func Serve(o ServeOptions) error {
	if o.Workers == 0 {
		o.Workers = len(o.CPUs)
	}
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(o.Workers + spareProcs)
	insight.Begin()
	// A guest's disk must not die of a log line that nobody reads.
	signal.Ignore(syscall.SIGPIPE)
	log, closeLog := o.Log.open(o.Stderr)
	defer closeLog()
	s := &server{o: o, log: log, signals: make(chan os.Signal, 2), clear: make(chan os.Signal, 1), upgrade: make(chan os.Signal, 1), hangup: make(chan os.Signal, 1)}
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(s.signals)
	signal.Notify(s.clear, syscall.SIGUSR1)
	defer signal.Stop(s.clear)
	signal.Notify(s.upgrade, syscall.SIGUSR2)
	defer signal.Stop(s.upgrade)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) means it
		signal.Notify(s.hangup, syscall.SIGHUP)
	}
	defer signal.Stop(s.hangup)

	holder, err := resume.Connect()
	if err != nil {
		log.Warn("the sessions of this process end with it", "error", err)
	}
	s.holder = holder
	s.tidier = newTidier(o.Workers + spareProcs + idleThreads)
	defer s.tidier.stop()
	defer func() { _ = holder.Close() }()
	if err = s.start(); err == nil {
		err = s.wait()
	}
	if end := s.shutdown(); err == nil || errors.Is(err, errStopped) {
		err = end
	}
	return s.report(err)
}

// start opens everything; what fails here is the caller's to mend: exit status 2.
func (s *server) start() error {
	if err := reserveDescriptors(len(s.o.Definitions), s.log); err != nil {
		return err
	}
	registry, err := export.NewRegistry(export.RegistryOptions{
		Workers: s.o.Workers, CPUs: s.o.CPUs, Poll: s.o.Poll, Trace: s.o.Log.trace, Log: s.log, Holder: s.holder,
		Changed: s.tidier.note,
	})
	if err != nil {
		return Usage(export.Under("--", err))
	}
	s.registry = registry
	if err := s.inherit(); err != nil {
		return err
	}
	// A successor under a supervisor has the same options and nobody to take over from.
	if s.o.TakeOver && !s.inherited {
		if err := registry.TakeOver(s.o.Definitions); err != nil {
			return Usage(export.Under(s.o.Where, err))
		}
	}
	for _, d := range s.o.Definitions {
		e, err := registry.Create(d)
		if err != nil {
			return Usage(export.Under(s.o.Where, err))
		}
		s.exports = append(s.exports, e)
	}
	export.Start(s.exports...)
	if err := s.begun(); err != nil {
		return err
	}
	registry.Disown()
	s.tell(resume.FieldReady + "=1")
	if !s.stopped.IsZero() {
		return errStopped
	}
	return nil
}

// begun waits until every export is there. A signal ends that at once, unless a predecessor has left something: it died, or
// was told to end as well, and what it had in flight nobody else will finish. Exports that are there resume their sessions
// before they end.
func (s *server) begun() error {
	ready := make(chan *export.Export, len(s.exports))
	for _, e := range s.exports {
		go func() {
			<-e.Ready()
			ready <- e
		}()
	}
	left := len(s.exports)
	for range s.exports {
		e, err := s.next(ready)
		switch {
		case err != nil:
			return err
		case e.Listened():
		case errors.Is(e.Err(), export.ErrNotTaken) && left > 1: // others were, and their guests have nobody else now
			left--
		default:
			return Usage(export.Under(s.o.Where, e.Err()))
		}
	}
	return nil
}

// next waits for the next export that is there, or will not be.
func (s *server) next(ready <-chan *export.Export) (*export.Export, error) {
	for {
		select {
		case e := <-ready:
			return e, nil
		case sig := <-s.signals:
			switch {
			case s.stopped.IsZero():
				s.stopped = time.Now()
				if !s.inherited {
					return nil, errStopped
				}
				s.log.Info("stopping: what the process before has left is resumed, requests in flight end, then everything is flushed", "signal", sig.String())
				s.late = time.After(drainTime)
			case time.Since(s.stopped) >= sameSignal:
				return nil, errSecondSignal(sig)
			}
		case <-s.late:
			return nil, errors.Errorf("gave up after %v: the images are not there yet, so what the process before has left cannot be finished", drainTime)
		}
	}
}

// inherit takes what a predecessor has left with the holder. In an upgrade it waits here until that one has ended.
func (s *server) inherit() error {
	if s.holder == nil {
		return nil
	}
	if s.holder.Supervised() {
		s.tell(resume.FieldStandby + "=1")
	}
	kept, err := s.holder.Inherited()
	s.registry.Inherit(kept)
	s.inherited = len(kept) > 0
	if err != nil {
		return err
	}
	if s.holder.Supervised() {
		s.handOver = make(chan error, 1)
		go func() { s.handOver <- s.holder.AwaitHandOver() }()
	}
	return nil
}

// tell sends something to the holder; when it is lost, AwaitHandOver reports it.
func (s *server) tell(fields ...string) { _ = s.holder.Notify(fields...) }

// errStopped is the end that a signal asked for.
var errStopped = errors.New("stopped by a signal")

// wait returns on a signal, or when the last export has ended; what fails now is a failure at work: exit status 1.
func (s *server) wait() error {
	done := make(chan struct{})
	defer close(done)
	go s.watchSizes(done)
	ended := make(chan *export.Export, len(s.exports))
	for _, e := range s.exports {
		go func() {
			<-e.Done()
			ended <- e
		}()
	}
	var first error
	for left := len(s.exports); left > 0; {
		select {
		case <-s.clear:
			s.clearFlushErrors()
		case <-s.upgrade:
			s.log.Warn("SIGUSR2 is for the supervisor of a 'vublk serve --supervise', this is not one; 'vublk serve --take-over' upgrades without")
		case err := <-s.handOver:
			s.handOver = nil
			if err != nil {
				s.log.Error("the supervisor is lost: this process goes on serving, and nobody will take its place", "error", err)
				continue
			}
			s.log.Info("handing over: requests in flight end, sessions and sockets stay with the supervisor")
			s.registry.HandOver()
		case sig := <-s.signals:
			s.stopped = time.Now()
			s.log.Info("stopping: requests in flight end, then everything is flushed", "signal", sig.String())
			return errStopped
		case e := <-ended:
			left--
			if err := e.Err(); err != nil {
				s.log.Error("export ended", "export", e.Definition().Name, "error", err)
				first = errors.Errorf("export %s ended, as the log says", e.Definition().Name)
				continue
			}
			s.log.Info("export ended", "export", e.Definition().Name)
		}
	}
	return first
}

// clearFlushErrors lets flushes be tried again on all exports where one has failed.
func (s *server) clearFlushErrors() {
	for _, e := range s.exports {
		if e.ClearFlushError() {
			s.log.Warn("flushes are tried again after a failed one", "export", e.Definition().Name)
		}
	}
}

func errSecondSignal(sig os.Signal) error {
	return errors.Errorf("second signal (%v): ended at once; writes that no flush covered may be lost", sig)
}

// shutdown drains and flushes everything, for as long as that may take and no second signal comes.
func (s *server) shutdown() error {
	if s.registry == nil {
		return nil
	}
	closed := make(chan error, 1)
	go func() { closed <- s.registry.Close() }()
	timeout := time.NewTimer(drainTime)
	defer timeout.Stop()
	for {
		select {
		case err := <-closed:
			return err
		case sig := <-s.signals:
			if s.stopped.IsZero() { // it all ends because of an error
				s.stopped = time.Now()
			}
			if time.Since(s.stopped) < sameSignal {
				continue
			}
			return errSecondSignal(sig)
		case <-timeout.C:
			return errors.Errorf("gave up after %v: %s", drainTime, s.pending())
		}
	}
}

// pending names the requests that do not end.
func (s *server) pending() string {
	answer := make(chan []string, 1)
	go func() { answer <- s.registry.Pending() }()
	select {
	case lines := <-answer:
		if len(lines) == 0 {
			return "no request is in flight, but a flush or a session does not end"
		}
		return "these requests did not end: " + strings.Join(lines, ", ")
	case <-time.After(time.Second):
		return "a worker does not answer"
	}
}

// report turns the reason for the end into what Execute prints, and writes it to the log where the log is for machines.
func (s *server) report(err error) error {
	if err == nil {
		return nil
	}
	if s.o.Log.format.String() != formatJSON {
		return err
	}
	s.log.Error(oneLine(err))
	said := &exitError{error: err, status: ExitFailure, said: true}
	var e *exitError
	if errors.As(err, &e) {
		said.status = e.status
	}
	return said
}
