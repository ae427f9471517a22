package vhostuser

import (
	"bytes"
	"context"
	"net"
	"os"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// ErrUnsure tells that a session cannot be resumed because its predecessor died in the very moment of sending an answer with
// a descriptor (GET_INFLIGHT_FD): the front-end either has the answer or waits for it. The connection is closed, which one that can reconnect survives.
var ErrUnsure = errors.New("the process before died while it answered a message: whether the answer left cannot be known")

// Resume goes on with a session of another process. The descriptors of st are duplicated; step is what its keeper said
// last. The rings that were started start again, requests that were in flight are done again, and Serve then goes on with
// the messages that are waiting. An error is ErrUnsure, or says what of st cannot be had again.
func Resume(st *State, step Step, dev Device, o Options) (*Session, error) {
	sock, err := connOf(st.Conn)
	if err != nil {
		return nil, err
	}
	s := NewSession(sock, dev, o)
	if err = s.openErr; err == nil {
		err = s.restore(st)
	}
	if err == nil {
		err = s.settle(st.Owed, step)
	}
	if err != nil {
		s.cancel(nil)
		return nil, s.end(errors.Wrap(err, "resume the session"), false)
	}
	s.again = true
	s.keep(nil)
	return s, nil
}

// connOf duplicates a connection.
func connOf(d Descriptor) (*net.UnixConn, error) {
	dup, err := duplicate(sys.NewFD(d.FD))
	if err != nil {
		return nil, errors.Wrap(err, "connection")
	}
	f := os.NewFile(uintptr(dup.Disown()), "connection")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, errors.Wrap(err, "connection")
	}
	sock, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("connection: not a Unix socket")
	}
	return sock, nil
}

// take duplicates a descriptor of a State and keeps its ID.
func (s *Session) take(d Descriptor) (*sys.FD, error) {
	if d.ID == 0 {
		return nil, nil
	}
	f, err := sys.NewFD(d.FD).Dup()
	if err != nil {
		return nil, err
	}
	s.ids.put(f, d.ID)
	return f, nil
}

func (i *identities) put(f *sys.FD, id uint64) {
	if i.of == nil {
		i.of = map[*sys.FD]uint64{}
	}
	i.of[f] = id
	i.last = max(i.last, id)
}

// restore makes the session what st says, rings running.
func (s *Session) restore(st *State) error {
	s.ids.put(s.conn.own, st.Conn.ID)
	if err := s.restoreOutbox(st.Outbox); err != nil {
		return err
	}
	s.protocol, s.features = st.Protocol, st.Features
	if err := s.dev.SetFeatures(st.Features); err != nil {
		return err
	}
	if err := s.restoreMemory(st.Memory); err != nil {
		return err
	}
	for _, b := range []struct {
		to   *inflightBuffer
		from *BufferState
	}{{&s.inflight, st.Inflight}, {&s.private, st.Private}} {
		if b.from == nil {
			continue
		}
		fd, err := s.take(b.from.File)
		if err != nil {
			return err
		}
		*b.to = inflightBuffer{fd: fd, offset: b.from.Offset, size: b.from.Size, queues: b.from.Queues, queueSize: b.from.QueueSize}
	}
	if err := s.restoreLog(st.Log, st.LogAll); err != nil {
		return err
	}
	for i := range st.Rings {
		if err := s.restoreRing(&st.Rings[i]); err != nil {
			return err
		}
	}
	channel, err := s.take(st.Channel)
	if err != nil {
		return err
	}
	s.backend.restore(channel, st.ConfigChanged, st.ConfigUnread, s.running > 0 && s.protocol.Has(ProtocolConfig))
	return nil
}

func (s *Session) restoreMemory(list []MemoryState) error {
	if len(list) == 0 {
		return nil
	}
	var regions []*guestmem.Region
	defer func() {
		for _, r := range regions {
			r.Close()
		}
	}()
	files := map[*guestmem.Region]*sys.FD{}
	for _, m := range list {
		f, err := s.take(m.File)
		if err != nil {
			return err
		}
		r, err := guestmem.Map(f.Int(), m.RegionInfo)
		if err != nil {
			_ = f.Close()
			return err
		}
		regions = append(regions, r)
		files[r] = f
	}
	return s.adopt(regions, files)
}

// restoreRing starts a ring where its in-flight record says.
func (s *Session) restoreRing(st *RingState) error {
	i, r, err := s.ring(uint64(st.Index))
	if err != nil {
		return err
	}
	r.num, r.base, r.enabled = st.Num, st.Base, st.Enabled
	r.addr = vringAddr{
		index: uint32(i), desc: guestmem.FrontendVA(st.Desc), driver: guestmem.FrontendVA(st.Driver), device: guestmem.FrontendVA(st.Device),
		flags: st.Flags, log: guestmem.GPA(st.Log),
	}
	for _, f := range []struct {
		to   **sys.FD
		from Descriptor
	}{{&r.kick, st.Kick}, {&r.call, st.Call}, {&r.err, st.Err}} {
		if *f.to, err = s.take(f.from); err != nil {
			return err
		}
	}
	if !st.Started {
		return nil
	}
	if err := s.shareMemo(); err != nil {
		return err
	}
	if err := s.start(i, resumed); err != nil {
		var harmless harmlessError
		if errors.As(err, &harmless) { // the guest's ring, not the session
			s.log.Error("a ring cannot go on", "ring", i, "error", err)
			return nil
		}
		return err
	}
	return nil
}

// restoreOutbox takes the predecessor's in the place of an empty one.
func (s *Session) restoreOutbox(d Descriptor) error {
	if d.ID == 0 {
		return nil
	}
	box, err := s.take(d)
	if err == nil {
		_ = s.outbox.Close()
		s.outbox = box
	}
	return err
}

// settle finishes the answer that the predecessor owed when it died. The front-end waits for it, and sends nothing else.
func (s *Session) settle(owed *Owed, step Step) error {
	switch {
	case owed == nil || step == StepNone:
		return s.unpack()
	case owed.Packed && s.outbox == nil:
		return errors.New("the answer that is owed is missing")
	case step == StepHandled:
		return s.settleHandled(owed)
	case owed.Packed:
		return s.post() // nothing, when it has left
	}
	next, err := s.conn.waiting(headerSize)
	if err != nil {
		return err
	}
	unread, err := s.conn.unread()
	switch {
	case err != nil:
		return err
	case len(next) > 0, unread > 0: // what nobody sends without the answer; or the answer is on its way
		return nil
	}
	return ErrUnsure
}

// settleHandled answers a message that may still be in the socket. It is not handled again: to add memory that is there
// already is an error.
func (s *Session) settleHandled(owed *Owed) error {
	next, err := s.conn.waiting(len(owed.Message))
	if err == nil {
		err = s.conn.drop(rest(owed.Message, next))
	}
	if err != nil {
		return errors.Wrap(err, "take the predecessor's message out of the socket")
	}
	f, err := s.take(owed.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	s.step(StepConsumed) // our own successor must not send it once more
	crashpoint.Reach("settle-due")
	if err := s.answer(owed.Packed, owed.Reply, f); err != nil {
		return err
	}
	crashpoint.Reach("settle-sent")
	s.step(StepNone)
	return nil
}

// rest is how much of a message is still in the socket, given a look at what is. A look ends behind descriptors, and a
// message that was sent in pieces is also taken out in pieces.
func rest(message, next []byte) int {
	switch {
	case len(next) == 0:
		return 0
	case bytes.HasPrefix(message, next):
		return len(message)
	case bytes.HasSuffix(message, next):
		return len(next)
	}
	return 0
}

// ErrSuspended is what Serve returns after Suspend.
var ErrSuspended = errors.New("session suspended")

// Suspend ends Serve between two messages, with all rings drained and everything still held, so that another process, or
// this one, can Resume what State then returns. Any goroutine.
func (s *Session) Suspend() { s.cancel(ErrSuspended) }

// suspend drains the rings and leaves them started in the books.
func (s *Session) suspend() error {
	stop := s.dev.StopQueue
	if d, ok := s.dev.(Suspender); ok {
		stop = d.SuspendQueue
	}
	for i := range s.rings {
		if !s.rings[i].started {
			continue
		}
		base, err := stop(i)
		if err != nil {
			return errors.Wrapf(err, "stop ring %d", i)
		}
		s.rings[i].base = base
		crashpoint.Reach("handover-drained")
	}
	s.keep(nil)
	crashpoint.Reach("handover-kept")
	return ErrSuspended
}

// Release lets go of a suspended session without a word to the front-end: the connection is another's.
func (s *Session) Release() error {
	for i := range s.rings {
		s.rings[i].started = false // the device has stopped them
	}
	return s.end(nil, true)
}

// interrupted tells why Serve's loop has ended: what ended the context, if that was it.
func (s *Session) interrupted(err error) error {
	if !woken(err) || s.ctx.Err() == nil {
		return err
	}
	cause := context.Cause(s.ctx)
	if s.conn.unsent && errors.Is(cause, ErrSuspended) {
		return errDeaf
	}
	return cause
}

// unread is how much of what we sent the front-end has not read (unix(7), SIOCOUTQ).
func (c *conn) unread() (n int, err error) {
	controlErr := c.raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err == nil {
		err = controlErr
	}
	return n, err
}
