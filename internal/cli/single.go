package cli

import (
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
)

// singleLockTimeout is how long a Single waits for a locked image: management software wants to hear early of a failure
// (QEMU's docs/interop/vhost-user.rst), but a predecessor's last I/O may still be on its way.
const singleLockTimeout = 5 * time.Second

// Single is a program that serves one export, with default settings for all that it has no option for.
type Single struct {
	definition export.Definition
	keys       []string
}

// AddSingle adds the flags for the options with these keys.
func AddSingle(flags *pflag.FlagSet, keys ...string) *Single {
	s := &Single{definition: export.NewDefinition(), keys: keys}
	s.definition.Disk.LockTimeout = singleLockTimeout
	AddOptions(flags, &s.definition, func(o export.Option) bool { return slices.Contains(keys, o.Key) })
	return s
}

// Serve runs the export until it ends or a signal comes.
func (s *Single) Serve(stderr io.Writer) error {
	const where = "--"
	if err := s.definition.Validate(); err != nil {
		return Usage(export.Under(where, s.missing(err)))
	}
	return s.advise(Serve(ServeOptions{
		Definitions: []export.Definition{s.definition}, Where: where,
		Process: ProcessOptions{Poll: "auto", Log: DefaultLog(), Stderr: stderr},
	}))
}

// missing replaces the remedy for an option that was not given: it names others that can take its place, and we have
// not all of them.
func (s *Single) missing(err error) error {
	var e *export.OptionError
	if !errors.As(err, &e) || e.Value != "" {
		return err
	}
	own := *e
	switch e.Option {
	case "socket-path":
		own.Remedy = "say where front-ends connect: --socket-path or --fd"
	case "blk-file":
		own.Remedy = "say what to serve"
	default:
		return err
	}
	return &own
}

// optionName finds the options that a message names, and not what is part of a path.
var optionName = regexp.MustCompile(`(?:^|[ (])--([a-z][a-z-]*)`)

// advise says, after a message that advises options that we do not have, which program has them.
func (s *Single) advise(err error) error {
	if err == nil {
		return nil
	}
	var others []string
	for _, match := range optionName.FindAllStringSubmatch(err.Error(), -1) {
		if name := match[1]; !slices.Contains(s.keys, name) && !slices.Contains(others, "--"+name) {
			others = append(others, "--"+name)
		}
	}
	if len(others) == 0 {
		return err
	}
	return &advisedError{error: err, advice: "it is 'vublk serve' that has " + alternatives(others)}
}

// advisedError is an error with a word of advice at the end.
type advisedError struct {
	error
	advice string
}

func (e *advisedError) Error() string { return e.error.Error() + "; " + e.advice }
func (e *advisedError) Unwrap() error { return e.error }
