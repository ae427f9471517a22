package vhostuser

import (
	"fmt"

	"github.com/pkg/errors"
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
		return s.answerAck(m.request, ack, false)
	}
	body, err := s.handle(r, m)
	switch {
	case err != nil:
		return s.refuse(r, m, ack, err)
	case r.reply:
		return s.answer(m.request, body)
	default:
		return s.answerAck(m.request, ack, true)
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
		return s.answerAck(m.request, true, false)
	case errors.As(err, &harmless):
		s.logRefusal(m.request, "vhost-user message ignored", "error", err)
		return nil
	}
	return &ProtocolError{Request: m.request, Reason: "failed", Err: err}
}

// answerAck sends the u64 of need_reply: 0 for success.
func (s *Session) answerAck(r Request, ack, ok bool) error {
	if !ack {
		return nil
	}
	var v uint64
	if !ok {
		v = 1
	}
	body := appendU64(s.scratch[:0], v)
	s.traceAck(r, body)
	return s.conn.reply(r, body, nil)
}

func (s *Session) answer(r Request, body []byte) error {
	s.traceReply(r, body)
	fd := s.replyFD
	s.replyFD = nil
	defer func() { _ = fd.Close() }()
	return s.conn.reply(r, body, fd)
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
