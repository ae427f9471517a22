// Command vhost-user-blk is the entry that management software starts, by the back-end program conventions of vhost-user
// (QEMU's docs/interop/vhost-user.rst): a fixed set of options, no daemonizing, exit status 0 on SIGTERM. It serves one
// image until then; `vublk serve` does the same with more options. Read next: internal/cli, which does the work.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
)

// version is set by the linker (Makefile).
var version string

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if cli.WantsCapabilities(args) {
		if _, err := io.WriteString(stdout, cli.Capabilities); err != nil {
			return cli.ExitFailure
		}
		return cli.ExitOK
	}
	return cli.Execute(command(stderr), args, stdout, stderr)
}

// conventions are the options that the conventions know.
var conventions = []string{"socket-path", "fd", "blk-file", "read-only"}

func command(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vhost-user-blk (--socket-path=PATH | --fd=FDNUM) --blk-file=FILE [--read-only]",
		Short: "Serve an image to a virtual machine over vhost-user",
		Long: `Serves a raw image or a block device to a virtual machine over vhost-user, in the way in which
management software starts such programs. People want "vublk serve", which has more options.

It stays in the foreground, logs to stderr and ends with status 0 on SIGTERM. An image that another process
has locked is waited for, but for 5 seconds only.`,
		Example: `  vhost-user-blk --socket-path=/run/vm1/disk.sock --blk-file=/var/lib/vm1/disk.raw
  vhost-user-blk --fd=3 --blk-file=/var/lib/vm1/disk.raw --read-only
  vhost-user-blk --print-capabilities`,
		Version:               cli.Version(version),
		Args:                  cli.NoArgs,
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	one := cli.AddSingle(cmd.Flags(), conventions...)
	cli.AddPrintCapabilities(cmd.Flags())
	cmd.RunE = func(*cobra.Command, []string) error { return one.Serve(stderr) }
	cli.TeachHelp(cmd)
	return cmd
}
