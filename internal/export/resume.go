package export

import (
	"context"
	"maps"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/vhostuser"
)

// resume goes on with the session that a predecessor of this process had, if it had one, and returns when that has ended.
// What cannot be resumed is given up, with its connection: a front-end that can reconnect does.
func (e *Export) resume() (resumed bool, err error) {
	session, ok := e.heritage.resumable()
	if !ok {
		e.forget(nil)
		return false, nil
	}
	e.state.change(Attached)
	s, k, err := e.revive(session)
	e.forget(k)
	if err != nil {
		k.drop()
		e.state.change(Draining)
		e.state.change(Listening)
		if errors.Is(err, errTooNew) {
			return false, err
		}
		e.log.Error("a session cannot go on: its front-end must reconnect", "error", err)
		return false, nil
	}
	crashpoint.Reach("resume-begun")
	e.counted.sessions.Add(1)
	e.counted.resumes.Add(1)
	e.log.Info("session resumed")
	if e.holder != nil {
		e.reports.Go(e.reportServed)
	}
	return true, e.attendSession(s, k)
}

// revive makes the session again. The keeper is what goes on keeping it, nil: nothing does.
func (e *Export) revive(session string) (*vhostuser.Session, *keeper, error) {
	k, step, err := e.load(session)
	if err != nil {
		return nil, k, err
	}
	left := k.record
	if e.takeOver != nil { // its state is not with a holder yet
		k.close()
		k = e.newKeeper()
	}
	crashpoint.Reach("resume-loaded")
	s, err := vhostuser.Resume(left.Session, step, e.device(), e.sessionOptions(k))
	if err == nil && uint64(e.parts.disk.Info().Size) != left.Capacity {
		s.ConfigChanged()
	}
	return s, k, err
}

// checkHeritage refuses, before anything else is begun, a state that this program must not touch. What a live process would
// hand over must be good in every respect: it goes on with it otherwise.
func (e *Export) checkHeritage() error {
	session, ok := e.heritage.resumable()
	if !ok {
		return nil
	}
	fd, err := e.heritage[kindState+session].Dup()
	if err != nil {
		return err
	}
	peek := &Export{def: e.def, holder: e.holder, prefix: e.prefix, log: e.log, heritage: maps.Clone(e.heritage)}
	peek.heritage[kindState+session] = fd
	k, _, err := peek.load(session)
	k.close()
	switch {
	case errors.Is(err, errTooNew), err != nil && e.takeOver != nil:
		return err
	case err == nil && e.takeOver != nil:
		return e.checkRings(k.record.Session)
	}
	return nil
}

// checkRings tells whether there is a place for every ring that the front-end has spoken of.
func (e *Export) checkRings(st *vhostuser.State) error {
	for _, r := range st.Rings {
		if r.Index >= e.def.Device.NumQueues {
			return errors.Errorf("the front-end uses ring %d, and num-queues=%d: take at least what the process before has", r.Index, e.def.Device.NumQueues)
		}
	}
	return nil
}

// servedPause is how often a resumed export looks whether it has completed a request, and servedPatience how long.
const (
	servedPause    = time.Millisecond
	servedPatience = 10 * time.Second
)

// reportServed tells the supervisor when the first request after a resume has completed: what a guest has waited for.
func (e *Export) reportServed() {
	tick := time.NewTicker(servedPause)
	defer tick.Stop()
	for end := time.Now().Add(servedPatience); time.Now().Before(end); {
		if e.parts.device.Completed() > 0 {
			_ = e.holder.Notify(resume.FieldServed + "=" + e.def.Name)
			return
		}
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// errHandedOver ends an export whose session and socket are the holder's now.
var errHandedOver = errors.New("handed over")

// HandOver ends the export and leaves its socket, and the session that runs, to the holder: its requests are drained, its
// front-end learns nothing. Done tells when it has ended. Any goroutine.
func (e *Export) HandOver() {
	e.handing.Store(true)
	if s := e.session.Load(); s != nil {
		s.Suspend()
		return
	}
	e.stop()
}

// handOver lets go of a suspended session.
func (e *Export) handOver(s *vhostuser.Session, k *keeper) error {
	k.close()
	if err := s.Release(); err != nil {
		return err
	}
	return errHandedOver
}

// ignoreCancel is nil for an end that somebody asked for.
func (e *Export) ignoreCancel(err error) error {
	if errors.Is(err, errHandedOver) || e.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
