package main

import (
	"io"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// commands lists the root command and all below it.
func commands() []*cobra.Command {
	root := rootCommand(io.Discard)
	root.InitDefaultCompletionCmd("completion")
	list := []*cobra.Command{root}
	for i := 0; i < len(list); i++ {
		list = append(list, list[i].Commands()...)
	}
	return list
}

func TestHelpTeaches(t *testing.T) {
	for _, c := range commands() {
		generated := strings.Contains(c.CommandPath(), "completion") || c.Name() == "help" // cobra's
		if c.Short == "" || !generated && c.Example == "" {
			t.Errorf("%s: no description or no example", c.CommandPath())
		}
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no description", c.CommandPath(), f.Name)
			}
			if f.Value.Type() == "string" && !generated {
				t.Errorf("%s --%s=string: say what to write", c.CommandPath(), f.Name)
			}
		})
	}
}

// The examples of each command are command lines that it accepts.
func TestExamplesParse(t *testing.T) {
	examples := 0
	for _, c := range commands() {
		for _, line := range strings.Split(c.Example, "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			examples++
			words := strings.Fields(line)
			root := rootCommand(io.Discard)
			cmd, rest, err := root.Find(words[1:])
			if words[0] != "vublk" || err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			switch err := cmd.ParseFlags(rest); {
			case errors.Is(err, pflag.ErrHelp):
				continue
			case err != nil:
				t.Errorf("%s: %v", line, err)
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if examples < 10 {
		t.Errorf("only %d examples", examples)
	}
}

// The lists of --export in the examples are right as well.
func TestServeExamplesDefine(t *testing.T) {
	for _, line := range strings.Split(serveExample, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		var f serveFlags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.add(flags)
		if err := flags.Parse(words[2:]); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if _, _, err := f.definitions(flags); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--help", []string{"serve", "bench", "info", "create", "version", "completion", "Examples:"}},
		{"help", []string{"Commands:"}},
		{"serve --help", []string{
			"Socket:", "Disk:", "Device, as the guest sees it:", "Several exports:", "Process:", "Log (on stderr):",
			"--socket-path=PATH", "--fd=FDNUM", "--connect=PATH", "--blk-file=FILE", "--store=KIND:SIZE", "--export=",
			"--read-only", "--num-queues=N", "--cache=MODE", "--config-wce", "--logical-block-size=BYTES",
			"--physical-block-size=BYTES", "--serial=TEXT", "--workers=N", "--poll=auto|off|DURATION", "--direct=on|off",
			"--lock-timeout=DURATION", "--incoming", "--allow-shrink", "SIGHUP", "--log-level=", "--log-format=text|json", "--trace-messages",
			"--print-capabilities", "memory-backend-memfd", "(default 60s)",
		}},
		{"create --help", []string{"--preallocate", "--force", "20GiB"}},
		{"bench --help", []string{
			"What to measure:", "Load:", "Driver:", "Measurement:", "Output:", "--socket=PATH", "--store=STORE", "--compare", "--destroy-data",
			"--rw=randread|randwrite|randrw|read|write|rw|flush", "--write-percent=0-100", "--flush-percent=0-100", "--bs=SIZE", "--depth=N,…", "--queues=N",
			"--span=SIZE", "--seed=N", "--driver=polling|sleeping", "--batch=N", "--packed", "--indirect", "--no-event-idx", "--driver-cpus=LIST",
			"--backend-cpus=LIST", "--runtime=DURATION", "--warmup=DURATION", "--rounds=N", "--ceiling", "--output=table|json|csv",
			"--plot=FILE.svg|FILE.png", "(default 4KiB)", "(default 1,32)", "(default 1s)", "docs/bench.md",
		}},
		{"info --help", []string{"--output=table|json"}},
		{"version", []string{"vublk ", "linux/"}},
		{"--version", []string{"vublk", "linux/"}},
		{"completion bash", []string{"bash completion"}},
		{"__complete bench --rw rand", []string{"randread", "randwrite", "randrw"}},
		{"__complete serve --cache w", []string{"writeback", "writethrough"}},
	} {
		status, stdout, stderr := clitest.Run(t, clitest.Options{}, strings.Fields(c.args)...)
		if status != 0 {
			t.Errorf("%s: status %d, %q", c.args, status, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s lacks %q:\n%s", c.args, want, stdout)
			}
		}
		for _, line := range strings.Split(stdout, "\n") {
			if strings.HasSuffix(c.args, "--help") && len([]rune(line)) > 130 {
				t.Errorf("%s: long line %q", c.args, line)
			}
		}
	}
}

func TestPrintCapabilitiesIgnoresTheRest(t *testing.T) {
	for _, args := range []string{
		"serve --print-capabilities", "serve --nonsense --fd=x --print-capabilities extra", "serve --print-capabilities=true --blk-file",
	} {
		status, stdout, stderr := clitest.Run(t, clitest.Options{}, strings.Fields(args)...)
		if status != 0 || stdout != `{"type":"block","features":["read-only","blk-file"]}`+"\n" || stderr != "" {
			t.Errorf("%s: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}
