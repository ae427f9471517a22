package vhostuser

import (
	"bytes"
	"fmt"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
)

// maxUnknown bounds the record of unknown ids that were logged.
const maxUnknown = 64

// dispatch checks, handles and answers one message. An error ends the session.
func (s *Session) dispatch(m *message) error {
	defer m.closeFDs()
	// Asked before the message is handled: the one that negotiates REPLY_ACK is not acked by it.
	ack := m.needReply() && s.protocol.Has(ProtocolReplyAck)
	r, known := rules[m.request]
	if !known {
		s.logUnknown(m.request)
		return s.concludeAck(m, ack, false)
	}
	body, err := s.handle(r, m)
	crashpoint.Reach("message-handled")
	switch {
	case err != nil:
		return s.refuse(r, m, ack, err)
	case r.reply:
		s.traceReply(m.request, body)
		return s.conclude(m, body, true)
	default:
		return s.concludeAck(m, ack, true)
	}
}

// handle makes the checks that are the same for all messages, then calls the handler.
func (s *Session) handle(r rule, m *message) ([]byte, error) {
	switch n := len(m.fds); {
	case !s.protocol.Has(r.needs):
		return nil, errors.Errorf("protocol feature %v was not negotiated", r.needs)
	case m.truncated:
		return nil, errors.Errorf("descriptors were lost: more than %d were sent or our own limit is reached", maxFDs)
	case n < r.fds[0] || n > r.fds[1]:
		return nil, errors.Errorf("%d descriptors, want %v", n, span(r.fds))
	case int(m.size) < r.size[0] || int(m.size) > r.size[1]:
		return nil, errors.Errorf("payload of %d bytes, want %v", m.size, span(r.size))
	}
	s.recognise(m.fds)
	return r.handle(s, m)
}

// refuse answers a message that failed: a nack where the front-end waits for one, else the end of the session, since
// the front-end goes on believing in something that is not so.
func (s *Session) refuse(r rule, m *message, ack bool, err error) error {
	var fatal fatalError
	var harmless harmlessError
	switch {
	case errors.As(err, &fatal), r.reply:
	case ack:
		s.logRefusal(m.request, "vhost-user message refused", "error", err)
		return s.concludeAck(m, true, false)
	case errors.As(err, &harmless):
		s.logRefusal(m.request, "vhost-user message ignored", "error", err)
		return s.conclude(m, nil, false)
	}
	return &ProtocolError{Request: m.request, Reason: "failed", Err: err}
}

// concludeAck concludes a message with the u64 of need_reply, 0 for success, if the front-end waits for one.
func (s *Session) concludeAck(m *message, ack, ok bool) error {
	if !ack {
		return s.conclude(m, nil, false)
	}
	var v uint64
	if !ok {
		v = 1
	}
	body := appendU64(s.scratch[:0], v)
	s.traceAck(m.request, body)
	return s.conclude(m, body, true)
}

// conclude takes a message that was handled out of the socket and answers it. A process that dies anywhere in here leaves
// enough behind for its successor to know what is left to do, see Resume.
func (s *Session) conclude(m *message, body []byte, reply bool) error {
	if s.running == 0 {
		s.backend.setRunning(false) // before the front-end hears that the last ring has stopped; of a start, see loop
	}
	fd := s.replyFD
	defer func() {
		_ = fd.Close()
		s.replyFD = nil
	}()
	if !reply {
		s.keep(nil)
		crashpoint.Reach("message-kept")
		return s.conn.consume(m)
	}
	frame := s.conn.frame(m.request, body)
	packed := fd == nil && s.pack(frame)
	s.keep(s.owe(m, frame, packed))
	crashpoint.Reach("answer-kept")
	if err := s.conn.consume(m); err != nil {
		return err
	}
	crashpoint.Reach("message-consumed")
	s.step(StepConsumed)
	crashpoint.Reach("answer-due")
	if err := s.answer(packed, frame, fd); err != nil {
		return err
	}
	crashpoint.Reach("answer-sent")
	s.step(StepNone)
	return nil
}

// owe notes what the front-end waits for.
func (s *Session) owe(m *message, frame []byte, packed bool) *Owed {
	if s.opts.Keeper == nil {
		return nil
	}
	return &Owed{Message: append(m.append(nil), m.payload...), Reply: bytes.Clone(frame), Packed: packed}
}

// logUnknown tells once per id that the front-end sends something that we do not know.
func (s *Session) logUnknown(r Request) {
	if s.unknown[r] || len(s.unknown) >= maxUnknown {
		return
	}
	if s.unknown == nil {
		s.unknown = make(map[Request]bool)
	}
	s.unknown[r] = true
	s.log.Debug("vhost-user message not known here", "request", r)
}

// span prints the bounds of a rule.
type span [2]int

func (s span) String() string {
	if s[0] == s[1] {
		return fmt.Sprint(s[0])
	}
	return fmt.Sprintf("%d to %d", s[0], s[1])
}
