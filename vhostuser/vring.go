package vhostuser

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
)

// vring is the configuration of one ring as the front-end gave it, judged only when the ring starts. QEMU sends CALL
// and ENABLE for rings that the guest never sets up.
type vring struct {
	num  uint32
	base virtio.Base
	addr vringAddr

	kick *sys.FD // of the last start; nil: poll
	call *sys.FD // nil: do not notify
	err  *sys.FD

	enabled bool
	started bool
}

// reset forgets what a virtio reset ends. QEMU sends SET_VRING_ERR once per connection, so the descriptors that we
// signal stay.
func (r *vring) reset() {
	_ = r.kick.Close()
	*r = vring{call: r.call, err: r.err}
}

func (r *vring) close() {
	r.reset()
	_ = r.call.Close()
	_ = r.err.Close()
	*r = vring{}
}

// ring finds the ring of an index from the wire.
func (s *Session) ring(index uint64) (int, *vring, error) {
	if index >= uint64(s.opts.Queues) {
		return 0, nil, errors.Errorf("ring %d of %d", index, s.opts.Queues)
	}
	s.growRings(int(index) + 1)
	return int(index), &s.rings[index], nil
}

// growRings has n rings at least. Most of the 256 that a device offers are never named, and cost nothing.
func (s *Session) growRings(n int) {
	if n > len(s.rings) {
		s.rings = append(s.rings, make([]vring, n-len(s.rings))...)
	}
}

// setVringNum, setVringBase and setVringAddr collect. A front-end that describes a started ring anew is about to start
// it again: cloud-hypervisor does so when its guest boots again, without GET_VRING_BASE. The old ring is drained first;
// a used index written to where the new one lies would be believed.
func (s *Session) setVringNum(m *message) ([]byte, error) {
	v := decodeVringState(m.payload)
	i, r, err := s.ring(uint64(v.index))
	if err == nil && r.num != v.num {
		err = s.stopIfStarted(i)
	}
	if err != nil {
		return nil, err
	}
	r.num = v.num
	return nil, nil
}

func (s *Session) setVringBase(m *message) ([]byte, error) {
	v := decodeVringState(m.payload)
	i, r, err := s.ring(uint64(v.index))
	if err == nil {
		err = s.stopIfStarted(i) // where it began says nothing about where it is
	}
	if err != nil {
		return nil, err
	}
	r.base = virtio.Base(v.num)
	return nil, nil
}

func (s *Session) setVringAddr(m *message) ([]byte, error) {
	a := decodeVringAddr(m.payload)
	i, r, err := s.ring(uint64(a.index))
	switch {
	case err != nil:
		return nil, err
	case a.flags&^vringFlagLog != 0:
		return nil, errors.Errorf("ring %d: flags %#x", a.index, a.flags)
	case a.desc != r.addr.desc || a.driver != r.addr.driver || a.device != r.addr.device:
		if err := s.stopIfStarted(i); err != nil {
			return nil, err
		}
	}
	logs := a.flags != r.addr.flags || a.log != r.addr.log
	r.addr = a
	if !logs {
		return nil, nil
	}
	return nil, s.logRing(i)
}

// setVringCall replaces the notification of a ring. A started one is notified at once: whatever happened before the
// guest could hear of it is told now.
func (s *Session) setVringCall(m *message) ([]byte, error) {
	return s.setRingFD(m, func(r *vring) **sys.FD { return &r.call }, func(q *virtio.Queue, fd int) error {
		q.SetCall(fd)
		return q.Notify()
	})
}

func (s *Session) setVringErr(m *message) ([]byte, error) {
	return s.setRingFD(m, func(r *vring) **sys.FD { return &r.err }, func(q *virtio.Queue, fd int) error {
		q.SetErr(fd)
		return nil
	})
}

// setRingFD stores a descriptor in the field of the ring that it is for, and hands a duplicate to a running queue.
func (s *Session) setRingFD(m *message, field func(*vring) **sys.FD, set func(*virtio.Queue, int) error) ([]byte, error) {
	i, fd, err := s.ringFD(m)
	if err != nil {
		return nil, err
	}
	at := field(&s.rings[i])
	_ = (*at).Close()
	*at = fd
	if !s.rings[i].started {
		return nil, nil
	}
	dup, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	var failed error
	if err := s.dev.UpdateQueue(i, func(q *virtio.Queue) { failed = set(q, dup.Disown()) }); err != nil {
		_ = dup.Close()
		return nil, err
	}
	return nil, failed
}

// setVringEnable is remembered while the ring is stopped. Disabled means: fetch nothing new, finish what runs.
func (s *Session) setVringEnable(m *message) ([]byte, error) {
	v := decodeVringState(m.payload)
	i, _, err := s.ring(uint64(v.index))
	if err != nil {
		return nil, err
	}
	if v.num > 1 {
		return nil, errors.Errorf("ring %d: enable %d", v.index, v.num)
	}
	return nil, s.enable(i, v.num == 1)
}

func (s *Session) enable(i int, on bool) error {
	r := &s.rings[i]
	r.enabled = on
	if !r.started {
		return nil
	}
	return s.dev.UpdateQueue(i, func(q *virtio.Queue) { q.SetEnabled(on) })
}

// ringFD takes a KICK, CALL or ERR message apart: the ring and its descriptor, nil for NOFD.
func (s *Session) ringFD(m *message) (int, *sys.FD, error) {
	f := decodeVringFile(m.payload)
	i, _, err := s.ring(f.index)
	switch {
	case err != nil:
		return 0, nil, err
	case f.noFD != (len(m.fds) == 0):
		return 0, nil, errors.Errorf("%d descriptors with the no-descriptor bit %t", len(m.fds), f.noFD)
	case f.noFD:
		return i, nil, nil
	}
	if err := checkEventFD(m.fds[0].Int()); err != nil {
		return 0, nil, err
	}
	if err := unblock(m.fds[0].Int()); err != nil {
		return 0, nil, err
	}
	return i, m.takeFD(0), nil
}

// checkEventFD keeps out files, pipes and sockets: a write to one of them could block a worker that other exports
// share. An eventfd lives on an anonymous inode, the only kind whose mode has no file type (fstat(2)).
func checkEventFD(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Wrap(err, "stat an event descriptor")
	}
	if st.Mode&unix.S_IFMT != 0 {
		return errors.Errorf("descriptor of mode %#o is not an eventfd", st.Mode)
	}
	return nil
}

// unblock makes an eventfd non-blocking: with a counter that is full, a write would stop a worker until somebody reads
// (eventfd(2)). QEMU's own back-ends do the same. The flag is one of the open file description, which the front-end
// shares: one that takes it back and fills the counter can still stop us.
func unblock(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil && flags&unix.O_NONBLOCK == 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	}
	return errors.Wrap(err, "make an event descriptor non-blocking")
}

// duplicate makes the queue's copy of one of our descriptors; nil of nil.
func duplicate(f *sys.FD) (*sys.FD, error) {
	if f == nil {
		return nil, nil
	}
	return f.Dup()
}
