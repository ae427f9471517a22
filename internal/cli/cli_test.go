package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// program is a command with a flag of each kind; its work is f.
func program(f func() error) *cobra.Command {
	d := export.NewDefinition()
	cmd := &cobra.Command{Use: "prog", Short: "A program", Example: "  prog --kind=b", Args: NoArgs}
	cmd.RunE = func(*cobra.Command, []string) error { return f() }
	AddOptions(cmd.Flags(), &d, func(o export.Option) bool { return o.Key == "num-queues" || o.Key == "read-only" })
	AddChoice(cmd.Flags(), "kind", "which of them", "a", "a", "b")
	AddPrintCapabilities(cmd.Flags())
	TeachHelp(cmd)
	return cmd
}

func TestExecute(t *testing.T) {
	nothing := func() error { return nil }
	for _, c := range []struct {
		name   string
		args   []string
		work   func() error
		status int
		want   string
	}{
		{"done", []string{"--num-queues=3", "--read-only", "--kind=b"}, nothing, ExitOK, ""},
		{"failure", nil, func() error { return errors.New("broken\nin two") }, ExitFailure, "prog: broken in two\n"},
		{"usage", nil, func() error { return errors.Wrap(Usagef("wrong"), "why") }, ExitUsage, "prog: why: wrong\n"},
		{"said", nil, func() error { return &exitError{error: errors.New("x"), status: ExitUsage, said: true} }, ExitUsage, ""},
		{"option", []string{"--num-queues=x"}, nothing, ExitUsage, "prog: --num-queues=x: not a number of queues; take 1 to 256\n"},
		{"choice", []string{"--kind=c"}, nothing, ExitUsage, "prog: --kind=c: unknown value; take a or b\n"},
		{"no value", []string{"--kind"}, nothing, ExitUsage, "prog: --kind: needs a value; write --kind=a|b\n"},
		{"mistyped", []string{"--num-queue=3"}, nothing, ExitUsage, "prog: unknown option --num-queue; did you mean --num-queues?\n"},
		{"unknown", []string{"--zzzzzzzz"}, nothing, ExitUsage, "prog: unknown option --zzzzzzzz; 'prog --help' lists the options\n"},
		{"short", []string{"-z"}, nothing, ExitUsage, "prog: unknown option -z; 'prog --help' lists the options\n"},
		{"argument", []string{"file"}, nothing, ExitUsage, "prog: unexpected argument \"file\"; options are written as --name=value\n"},
	} {
		var stdout, stderr bytes.Buffer
		status := Execute(program(c.work), c.args, &stdout, &stderr)
		if status != c.status || stderr.String() != c.want || stdout.Len() != 0 {
			t.Errorf("%s: status %d, stdout %q, stderr %q", c.name, status, stdout.String(), stderr.String())
		}
	}
	if Usage(nil) != nil {
		t.Error("no error became one")
	}
}

const help = `A program

Usage:
  prog [flags]

Examples:
  prog --kind=b

Disk:
  --read-only                   open the file read-only and tell the guest so

Device, as the guest sees it:
  --num-queues=N                the most queues a front-end may use, 1 to 256; unused ones cost nothing
                                (default 256)

Other:
  --kind=a|b                    which of them (default a)
  --print-capabilities          print what this back-end can do as JSON, for management software, and ignore
                                all other options
  -h, --help                    help for prog
`

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := Execute(program(nil), []string{"--help"}, &stdout, &stderr); status != 0 || stdout.String() != help || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q, got\n%s\nwant\n%s", status, stderr.String(), stdout.String(), help)
	}
}

func TestWantsCapabilities(t *testing.T) {
	for args, want := range map[string]bool{
		"": false, "--print-capabilities": true, "--x --print-capabilities": true, "--print-capabilities=true": true,
		"--print-capabilities=false": false, "-- --print-capabilities": false,
	} {
		if got := WantsCapabilities(strings.Fields(args)); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}

func TestLog(t *testing.T) {
	for _, c := range []struct{ args, want, not string }{
		{"", "level=INFO msg=hello error=inner", "cli_test.go"},
		{"--log-level=warn", "", "hello"},
		{"--log-format=json", `"msg":"hello","error":"inner"`, "cli_test.go"},
		{"--log-level=debug", "cli_test.go", "nothing of it"},
	} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		o := AddLogOptions(flags)
		if err := flags.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		o.logger(&b).Log(t.Context(), slog.LevelInfo, "hello", "error", errors.New("inner"))
		if got := b.String(); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s: %q", c.args, got)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := Version("v1.2"); !strings.HasPrefix(got, "v1.2 (go") {
		t.Error(got)
	}
	if got := Version(""); !strings.Contains(got, "development (") {
		t.Error(got)
	}
}

func TestAlternatives(t *testing.T) {
	for want, words := range map[string][]string{"a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := alternatives(words); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
