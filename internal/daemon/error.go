package daemon

import (
	"fmt"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
)

// ErrorKind says what stands in the way.
type ErrorKind int

// Kinds of errors. What is wrong in itself is an *export.OptionError instead.
const (
	Internal           ErrorKind = iota
	NotFound                     // no export has the name
	AlreadyExists                // another export has the name, the socket or the image
	FailedPrecondition           // the export or the host is not in a state that allows it
	Unavailable                  // the daemon is ending, or the stream cannot keep up
)

// Error is a reason not to do what was asked for, and the way out, in one line.
type Error struct {
	Kind ErrorKind
	Text string
}

func (e *Error) Error() string { return e.Text }

func errorf(kind ErrorKind, format string, args ...any) error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

func noSuch(name string) error {
	return errorf(NotFound, "no export is called %q; 'vublk export list' lists them", name)
}

// because makes a FailedPrecondition of what the host says, and leaves what says more.
func because(err error) error {
	var option *export.OptionError
	var host *export.HostError
	var known *Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &host):
		return errorf(FailedPrecondition, "%s=%s: %v", host.Option, host.Value, err)
	case errors.As(err, &option):
		if option.Conflict {
			return &Error{Kind: AlreadyExists, Text: err.Error()}
		}
		return err
	}
	return &Error{Kind: FailedPrecondition, Text: err.Error()}
}
