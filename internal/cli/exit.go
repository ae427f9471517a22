package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
)

// The exit statuses of all commands.
const (
	ExitOK      = 0
	ExitFailure = 1 // something failed while working
	ExitUsage   = 2 // wrong options, files, sockets, kernel: nothing was begun
)

// exitError is an error that knows its exit status.
type exitError struct {
	error
	status int
	said   bool // it is in the log already
}

func (e *exitError) Unwrap() error { return e.error }

// Usage marks err as the caller's mistake: exit status 2.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{error: err, status: ExitUsage}
}

// Usagef makes an error with exit status 2.
func Usagef(format string, args ...any) error { return Usage(errors.Errorf(format, args...)) }

// Execute runs the command line args, writes an error as one line to stderr and returns the exit status.
func Execute(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(flagError)
	cmd, err := root.ExecuteC()
	if err == nil {
		return ExitOK
	}
	status := ExitFailure
	var e *exitError
	if errors.As(err, &e) {
		status = e.status
	}
	if e == nil || !e.said {
		say(stderr, fmt.Sprintf("%s: %s\n", cmd.CommandPath(), oneLine(err)))
	}
	return status
}

// say writes text, unless nobody reads stderr: the process ends all the same.
func say(stderr io.Writer, text string) {
	l := newLogWriter(stderr, func(uint64) []byte { return nil })
	_, _ = io.WriteString(l, text)
	l.close(logPatience)
}

// oneLine is err without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// flagError says what is wrong with a flag, and the way out.
func flagError(cmd *cobra.Command, err error) error {
	var option *export.OptionError
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	switch {
	case errors.As(err, &option):
		err = option
	case errors.As(err, &empty):
		name := empty.GetSpecifiedName()
		err = errors.Errorf("--%s: needs a value; write --%s=%s", name, name, empty.GetFlag().Value.Type())
	case errors.As(err, &unknown):
		err = unknownFlag(cmd, unknown.GetSpecifiedName())
	}
	return Usage(err)
}

func unknownFlag(cmd *cobra.Command, name string) error {
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	dashes := "--"
	if len(name) == 1 {
		dashes = "-"
	}
	remedy := fmt.Sprintf("'%s --help' lists the options", cmd.CommandPath())
	if near := export.Nearest(name, known); near != "" {
		remedy = "did you mean --" + near + "?"
	}
	return errors.Errorf("unknown option %s%s; %s", dashes, name, remedy)
}

// NoArgs rejects arguments that are not options.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unexpected argument %q; options are written as --name=value", args[0])
	}
	return nil
}

// KnownCommand rejects what is no subcommand of cmd.
func KnownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	remedy := fmt.Sprintf("'%s --help' lists the commands", cmd.CommandPath())
	if near := export.Nearest(args[0], known); near != "" {
		remedy = "did you mean " + near + "?"
	}
	return Usagef("unknown command %q; %s", args[0], remedy)
}

// Check finds what is wrong in a definition; where says where it was written ("--", "--export ").
func Check(where string, d export.Definition) error {
	return Usage(export.Under(where, d.Validate()))
}
