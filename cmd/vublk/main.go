// Command vublk serves disks to virtual machines over vhost-user, and helps with what belongs to that: `export`, `stats`,
// `events` and `top` speak to a daemon, `info` tells what the host can do, `create` makes images, `bench` measures. One file
// per subcommand, but for bench and export, which have one per noun. Read next: serve.go, client.go, then internal/cli.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "serve" && cli.WantsCapabilities(args[1:]) {
		if _, err := io.WriteString(stdout, cli.Capabilities); err != nil {
			return cli.ExitFailure
		}
		return cli.ExitOK
	}
	return cli.Execute(rootCommand(stderr), args, stdout, stderr)
}

func rootCommand(stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "vublk",
		Short: "Disks for virtual machines, over vhost-user",
		Long: `vublk gives virtual machines their disks. It speaks the vhost-user protocol to QEMU, cloud-hypervisor,
libvirt, libblkio and others, and does the guest's I/O straight into guest memory with io_uring and O_DIRECT.`,
		Example: `  vublk create disk.raw 20GiB
  vublk serve --socket-path=vm.sock --blk-file=disk.raw
  vublk bench --store=null:1GiB
  vublk info
  vublk serve --help`,
		Version: cli.Version(version),
		Args:    cli.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Usagef("a command is missing; '%s --help' lists them", cmd.CommandPath())
		},
	}
	root.AddCommand(serveCommand(stderr), daemonCommand(stderr), createCommand(), releaseCommand(), benchCommand(), infoCommand(), versionCommand())
	for _, c := range []*cobra.Command{exportCommand(), statsCommand(), eventsCommand(), topCommand()} {
		c.PersistentPreRunE = onlyUTF8
		root.AddCommand(c)
	}
	cli.TeachHelp(root)
	cli.TeachCompletion(root)
	return root
}
