package cli

import (
	"testing"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
)

// A message may advise an option that the program does not have; then it says which one has it.
func TestSingleAdvises(t *testing.T) {
	s := AddSingle(pflag.NewFlagSet("", pflag.ContinueOnError), "socket-path", "blk-file")
	for text, want := range map[string]string{
		"x is locked (see --lock-timeout)":            "x is locked (see --lock-timeout); it is 'vublk serve' that has --lock-timeout",
		"no direct I/O: move it, or --direct=off":     "no direct I/O: move it, or --direct=off; it is 'vublk serve' that has --direct",
		"--store or --direct=on or --store":           "--store or --direct=on or --store; it is 'vublk serve' that has --store or --direct",
		"--blk-file takes an image":                   "--blk-file takes an image",
		"/images/disk--old.raw does not exist":        "/images/disk--old.raw does not exist",
		"--socket-path=s: wrong; take something else": "--socket-path=s: wrong; take something else",
	} {
		err := s.advise(Usagef("%s", text))
		var status *exitError
		if err.Error() != want || !errors.As(err, &status) || status.status != ExitUsage {
			t.Errorf("%q: %q, status %+v, want %q", text, err, status, want)
		}
	}
	if s.advise(nil) != nil {
		t.Error("no error became one")
	}
}

func TestSingleNamesItsOwnOptions(t *testing.T) {
	s := AddSingle(pflag.NewFlagSet("", pflag.ContinueOnError), "socket-path", "fd", "blk-file")
	if err := s.Serve(nil); err == nil || err.Error() != "--socket-path: missing; say where front-ends connect: --socket-path or --fd" {
		t.Error(err)
	}
	s.definition.Socket.Path = "s"
	if err := s.Serve(nil); err == nil || err.Error() != "--blk-file: missing; say what to serve" {
		t.Error(err)
	}
	other := &export.OptionError{Option: "fd", Reason: "contradicts socket-path"}
	if err := s.missing(other); !errors.Is(err, other) {
		t.Error(err)
	}
}
