package cli

import (
	"io"
	"slices"

	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
)

// Single is a program that serves one export, with default settings for all that it has no option for.
type Single struct{ definition export.Definition }

// AddSingle adds the flags for the options with these keys.
func AddSingle(flags *pflag.FlagSet, keys ...string) *Single {
	s := &Single{definition: export.NewDefinition()}
	AddOptions(flags, &s.definition, func(o export.Option) bool { return slices.Contains(keys, o.Key) })
	return s
}

// Serve runs the export until it ends or a signal comes.
func (s *Single) Serve(stderr io.Writer) error {
	const where = "--"
	if err := Check(where, s.definition); err != nil {
		return err
	}
	return Serve(ServeOptions{
		Definitions: []export.Definition{s.definition}, Where: where, Poll: "auto", Log: DefaultLog(), Stderr: stderr,
	})
}
