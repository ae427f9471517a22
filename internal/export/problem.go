package export

import (
	"strings"

	"github.com/pkg/errors"
)

// OptionError is a wrong option: which one, what it was given, why that is wrong and the way out. It is one line.
type OptionError struct {
	Option string // "num-queues", or "--num-queues" once the caller knows where it was written
	Value  string
	Reason string
	Remedy string // what to write or do instead; may be empty
	// Conflict tells that the value would be right if another export had it not.
	Conflict bool
}

func (e *OptionError) Error() string {
	var b strings.Builder
	b.WriteString(e.Option)
	if e.Value != "" {
		b.WriteString("=" + e.Value)
	}
	b.WriteString(": " + e.Reason)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Under says where an option was written: it puts prefix before the option's name in an OptionError ("--" for a flag,
// "--export " for a key of --export) and leaves other errors alone.
func Under(prefix string, err error) error {
	var e *OptionError
	if !errors.As(err, &e) || strings.HasPrefix(e.Option, prefix) {
		return err
	}
	named := *e
	named.Option = prefix + e.Option
	return &named
}

// HostError is what the host says of a value that would be right if the host were otherwise: a file is missing, a socket is in
// use. Its text is the cause's, which names the value.
type HostError struct {
	Option, Value string
	Err           error
}

func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *HostError) Unwrap() error { return e.Err }
