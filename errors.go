package vublk

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/export"
)

// ErrClosed tells that the Server has been closed, or is being closed.
var ErrClosed = errors.New("the server is closed")

// ErrNotServing tells that an export has ended, so that there is no size to look at.
var ErrNotServing = errors.New("the export is not served any more")

// OptionError is a field of Options or ServerOptions, or an argument, that is wrong or contradicts another export: which one,
// what it was given, why that is wrong and the way out.
type OptionError struct {
	Option string // the field or the argument: "Queues", "path"
	Value  string // as text; may be empty
	Reason string
	Remedy string // what to write or do instead; may be empty
}

// Error is one line.
func (e *OptionError) Error() string {
	return (&export.OptionError{Option: e.Option, Value: e.Value, Reason: e.Reason, Remedy: e.Remedy}).Error()
}

// fields are the Go names of what the command line calls otherwise.
var fields = map[string]string{
	"socket-path":         "path",
	"disk":                "disk",
	"blk-file":            "disk",
	"name":                "Name",
	"num-queues":          "Queues",
	"cache":               "Cache",
	"flush-error":         "FlushError",
	"config-wce":          "ConfigWCE",
	"logical-block-size":  "LogicalBlockSize",
	"physical-block-size": "PhysicalBlockSize",
	"serial":              "Serial",
	"workers":             "Workers",
	"cpus":                "CPUs",
	"poll":                "Poll",
}

// translate gives an error the names that a Go program knows, and leaves others alone.
func translate(err error) error {
	if errors.Is(err, export.ErrNotServing) {
		return ErrNotServing
	}
	var wrong *export.OptionError
	if !errors.As(err, &wrong) {
		return err
	}
	e := OptionError{Option: wrong.Option, Value: wrong.Value, Reason: wrong.Reason, Remedy: wrong.Remedy}
	if field, ok := fields[e.Option]; ok {
		e.Option = field
	}
	return &e
}
