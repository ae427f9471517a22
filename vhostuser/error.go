package vhostuser

import "fmt"

// ProtocolError says why a front-end's behaviour ended the session.
type ProtocolError struct {
	Request Request // the message; 0 when not even its header was complete
	Reason  string
	Err     error // the cause beneath, or nil
}

// Error names the message, the reason and the cause.
func (e *ProtocolError) Error() string {
	s := "vhost-user: "
	if e.Request != 0 {
		s = fmt.Sprintf("vhost-user %v: ", e.Request)
	}
	s += e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *ProtocolError) Unwrap() error { return e.Err }

// fatalError wraps a handler's failure after which the state is unknown: the session ends, asked for an ack or not.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// harmlessError wraps a handler's refusal that leaves a known state and that a guest can provoke through a sane
// front-end: one that did not ask for an ack keeps its session.
type harmlessError struct{ error }

func (e harmlessError) Unwrap() error { return e.error }
