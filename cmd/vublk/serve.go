package main

import (
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

const serveLong = `Serves disks to virtual machines until SIGTERM or SIGINT.

One export is one socket, one disk and at most one front-end at a time; when the front-end goes away the next
one may come. Without --export the options describe one export. Each --export describes one of several in the
same process, as a list of the same options without dashes (key=value, separated by commas; a comma inside a
value is doubled); --read-only, --cache and the like then are defaults for all of them.

The front-end needs guest memory that can be shared. For QEMU:
  -object memory-backend-memfd,id=m,size=2G,share=on -machine q35,memory-backend=m
  -chardev socket,id=c,path=vm.sock,reconnect-ms=500 -device vhost-user-blk-pci,chardev=c

On the first signal nothing new is taken from the guest, requests in flight end and the disk is flushed: exit
status 0. What takes longer than 5 seconds is named, with exit status 1; a second signal ends everything at
once, but for the first 500 ms, in which it counts as the same one. Exit status 2 means that an option, a
file, the socket or the kernel is wrong and nothing was begun.

With --supervise a child process does the work; when it dies, by kill -9 even, another one goes on with the same
connections and the guests see a pause. SIGUSR2 upgrades: the program that has the name now takes over, and if it
does not start the old one goes on. --take-over does that without a supervisor: it takes the exports over from the
process that serves them now, if both have the same options. docs/survival.md tells how.

SIGHUP looks at the sizes of all disks again: one that has grown is larger for its guest at once. One that has
shrunk is refused, unless --allow-shrink was given; the log says what was done. Under nohup it is ignored.`

const serveExample = `  # one disk
  vublk serve --socket-path=vm.sock --blk-file=disk.raw

  # two disks in one process, the second one read-only
  vublk serve --export=socket-path=a.sock,blk-file=a.raw --export=socket-path=b.sock,blk-file=b.raw,read-only

  # a guest that never flushes: each write is stable before it completes
  vublk serve --socket-path=vm.sock --blk-file=disk.raw --cache=writethrough

  # how fast can it be? no disk at all, workers that poll
  vublk serve --socket-path=vm.sock --store=null:1GiB --workers=1 --poll=50us

  # two workers on CPUs that nobody else uses
  vublk serve --socket-path=vm.sock --blk-file=disk.raw --cpus=2,3

  # make a disk larger while its guest runs: truncate -s 40G disk.raw, then kill -HUP its process
  vublk serve --socket-path=vm.sock --blk-file=disk.raw

  # a guest that does not notice when its back-end dies
  vublk serve --supervise --socket-path=vm.sock --blk-file=disk.raw

  # upgrade a vublk that serves vm.sock now
  vublk serve --take-over --socket-path=vm.sock --blk-file=disk.raw

  # the destination of a migration: listens while the source still has the image
  vublk serve --socket-path=vm.sock --blk-file=/shared/disk.raw --incoming`

// serveFlags are what the options of serve were set to.
type serveFlags struct {
	processFlags
	single  export.Definition
	exports []string
	take    bool
}

func serveCommand(stderr io.Writer) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Serve disks to virtual machines",
		Long:    serveLong,
		Example: serveExample,
		Args:    cli.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		definitions, where, err := f.definitions(cmd.Flags())
		if err != nil {
			return err
		}
		process := f.options(stderr)
		if f.super.Wanted() {
			return cli.Supervise(f.super, process, cli.Inherited(definitions))
		}
		return cli.Serve(cli.ServeOptions{Process: process, Definitions: definitions, Where: where, TakeOver: f.take})
	}
	f.add(cmd.Flags())
	f.complete(cmd)
	return cmd
}

func (f *serveFlags) add(flags *pflag.FlagSet) {
	f.single = export.NewDefinition()
	cli.AddOptions(flags, &f.single, func(export.Option) bool { return true })
	const several = "Several exports"
	flags.Var((*exportList)(&f.exports), "export", "one of several exports: socket-path=PATH,blk-file=FILE,…; may be repeated")
	cli.Group(flags, several, "export")

	f.processFlags.add(flags)
	f.super = cli.AddSuperviseOptions(flags)
	flags.BoolVar(&f.take, "take-over", false, "take the exports over from the vublk that serves them now, without their guests' noticing")
	cli.Group(flags, processGroup, "take-over")
	f.log = cli.AddLogOptions(flags)
	cli.AddPrintCapabilities(flags)
}

// complete offers the shell what can be listed.
func (f *serveFlags) complete(cmd *cobra.Command) {
	for flag, values := range map[string][]string{
		"cache":     {"auto", "writeback", "writethrough", "unsafe"},
		"store":     {"null:", "mem:"},
		"direct":    {"on", "off"},
		"poll":      {"auto", "off", "50us"},
		"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"},
	} {
		// It fails only for a flag that does not exist or has completions, which the tests would show.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// definitions makes the exports of the flags, and says where they were written.
func (f *serveFlags) definitions(flags *pflag.FlagSet) (list []export.Definition, where string, err error) {
	if len(f.exports) == 0 {
		return []export.Definition{f.single}, "--", cli.Check("--", f.single)
	}
	for _, o := range export.Options() {
		if o.Own && flags.Changed(o.Key) {
			return nil, "", cli.Usagef("--%s and --export contradict each other; write %s into an --export of its own", o.Key, o.Key)
		}
	}
	const inExport = "--export "
	for _, text := range f.exports {
		d, err := export.Parse(text, f.single)
		if err != nil {
			return nil, "", cli.Usage(export.Under(inExport, err))
		}
		if err := cli.Check(inExport, d); err != nil {
			return nil, "", err
		}
		list = append(list, d)
	}
	return list, inExport, nil
}
