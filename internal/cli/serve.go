package cli

import (
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/resume"
)

// ServeOptions are what Serve needs.
type ServeOptions struct {
	Process     ProcessOptions
	Definitions []export.Definition
	Where       string // where the options were written, for messages: "--", "--export "
	TakeOver    bool   // the exports are served by another process, which gives them up
}

// server is a Serve that runs.
type server struct {
	process
	o       ServeOptions
	late    <-chan time.Time // when a start that was told to stop takes too long
	exports []*export.Export
}

// Serve runs the exports until SIGTERM or SIGINT, or until all of them have ended by themselves. The error it returns
// knows its exit status.
func Serve(o ServeOptions) error {
	s := &server{o: o}
	defer s.begin(o.Process)()
	err := s.start()
	if err == nil {
		err = s.wait()
	}
	if end := s.shutdown(func() {}); err == nil || errors.Is(err, errStopped) {
		err = end
	}
	return s.report(err)
}

// start opens everything; what fails here is the caller's to mend: exit status 2.
func (s *server) start() error {
	if err := reserveDescriptors(len(s.o.Definitions), s.log); err != nil {
		return err
	}
	if err := s.openRegistry(func(*export.Export, export.State) { s.tidier.note() }); err != nil {
		return err
	}
	if _, err := s.inherit(""); err != nil {
		return err
	}
	if err := s.tellMetrics(s.unready, nil, s.o.TakeOver || s.inherited); err != nil {
		return err
	}
	// A successor under a supervisor has the same options and nobody to take over from.
	if s.o.TakeOver && !s.inherited {
		if err := s.registry.TakeOver(s.o.Definitions); err != nil {
			return Usage(export.Under(s.o.Where, err))
		}
	}
	for _, d := range s.o.Definitions {
		e, err := s.registry.Create(d)
		if err != nil {
			return Usage(export.Under(s.o.Where, err))
		}
		s.exports = append(s.exports, e)
	}
	export.Start(s.exports...)
	if err := s.begun(); err != nil {
		return err
	}
	s.registry.Disown()
	s.tell(resume.FieldReady + "=1")
	if !s.stopped.IsZero() {
		return errStopped
	}
	return nil
}

// unready names what is not served, although it was asked for.
func (s *server) unready() (list []string) {
	served := map[string]bool{}
	for _, e := range s.registry.List() {
		served[e.Definition().Name] = e.State().Served()
	}
	for _, d := range s.o.Definitions {
		name := d.Name
		if name == "" {
			name = d.DefaultName()
		}
		if !served[name] {
			list = append(list, name)
		}
	}
	return list
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
			s.leave(err)
		case sig := <-s.signals:
			s.stop(sig)
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
