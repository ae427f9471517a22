package vhostuser

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
)

// setVringKick starts a ring, also without a descriptor. On a started ring it replaces the descriptor: the queue is
// drained and starts again where it stood.
func (s *Session) setVringKick(m *message) ([]byte, error) {
	i, fd, err := s.ringFD(m)
	if err != nil {
		return nil, err
	}
	if err := s.stopIfStarted(i); err != nil {
		_ = fd.Close()
		return nil, err
	}
	r := &s.rings[i]
	_ = r.kick.Close()
	r.kick = fd
	if err := s.start(i, begun); err != nil {
		_ = r.kick.Close()
		r.kick = nil
		if r.err != nil {
			_ = sys.Signal(r.err.Int()) // the front-end that asked for no ack learns it so
		}
		return nil, err
	}
	return nil, nil
}

// getVringBase stops a ring. The answer comes after the last request is done and the last used element is written:
// from then on we leave the guest's memory alone. It stays the same when asked again.
func (s *Session) getVringBase(m *message) ([]byte, error) {
	v := decodeVringState(m.payload) // num is reserved
	i, r, err := s.ring(uint64(v.index))
	if err != nil {
		return nil, err
	}
	if err := s.stopIfStarted(i); err != nil {
		return nil, err
	}
	_ = r.kick.Close()
	r.kick = nil
	return vringState{index: v.index, num: uint32(r.base)}.append(s.scratch[:0]), nil
}

// How a ring begins: with what the front-end says, or, in the place of a process that died, with what its record says.
type origin uint8

const (
	begun origin = iota
	resumed
)

// start makes a queue of the ring's configuration, all of which is judged here, and hands it to the device.
func (s *Session) start(i int, how origin) error {
	q, err := s.activate(i, how)
	if err != nil {
		return err
	}
	r := &s.rings[i]
	q.SetEnabled(r.enabled)
	// Once, unasked: an interrupt that our predecessor owed when it died is lost otherwise, and the notification
	// state that would tell whether one is due died with it.
	if err := q.Notify(); err != nil {
		_ = q.Close()
		return errors.Wrapf(err, "notify ring %d at its start", i)
	}
	r.started = true
	if how == begun {
		s.keep(nil) // before the first request is fetched: a successor must go by the record from here on
	}
	crashpoint.Reach("ring-kept")
	if err := s.dev.StartQueue(i, q); err != nil {
		r.started = false
		return errors.Wrapf(err, "start ring %d", i)
	}
	s.running++
	s.log.Debug("vhost-user ring started", "ring", i, "size", r.num, "base", uint32(r.base), "enabled", r.enabled)
	return nil
}

// activate validates a ring's configuration. The queue gets duplicates of the descriptors.
func (s *Session) activate(i int, how origin) (q *virtio.Queue, err error) {
	if s.memory.table == nil {
		return nil, errors.Errorf("ring %d is started without guest memory", i)
	}
	r := &s.rings[i]
	var fds [3]*sys.FD
	defer func() { // those that the queue did not take
		for _, f := range fds {
			_ = f.Close()
		}
	}()
	for n, f := range []*sys.FD{r.kick, r.call, r.err} {
		if fds[n], err = duplicate(f); err != nil {
			return nil, err
		}
	}
	record, err := s.record(i, virtio.Features(s.features), r.num)
	if err == nil && how == begun {
		err = s.forget(record)
	}
	if err == nil {
		err = s.shareMemo()
	}
	if err != nil {
		return nil, err
	}
	q, err = virtio.Activate(virtio.Config{
		Index: i, Size: r.num, Features: virtio.Features(s.features), Base: r.base, Memory: s.memory.table, Inflight: &record,
		Desc: r.addr.desc, Driver: r.addr.driver, Device: r.addr.device,
		Kick: fds[0].Int(), Call: fds[1].Int(), Err: fds[2].Int(),
		Log: s.ringLog(i), LogAt: r.addr.log,
	})
	if err != nil {
		// Sizes and addresses are the guest's choice, passed on; QEMU 7.2 does not ask for an ack of SET_VRING_KICK. A
		// guest may lose its queue by this, and not the session.
		return nil, harmlessError{errors.Wrapf(err, "ring %d", i)}
	}
	for _, f := range fds {
		f.Disown()
	}
	return q, nil
}

// stopIfStarted drains a ring and remembers where it stands.
func (s *Session) stopIfStarted(i int) error {
	if !s.rings[i].started {
		return nil
	}
	base, err := s.dev.StopQueue(i)
	if err != nil {
		return fatalError{errors.Wrapf(err, "stop ring %d", i)}
	}
	r := &s.rings[i]
	r.base, r.started = base, false
	s.running--
	s.keep(nil) // before its record is made fresh
	s.log.Debug("vhost-user ring stopped", "ring", i, "base", uint32(base))
	return nil
}
