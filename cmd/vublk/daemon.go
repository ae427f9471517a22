package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/control"
	"github.com/vublk/vublk/internal/daemon"
)

const daemonLong = `Serves the disks of a host until SIGTERM or SIGINT, as 'vublk export' and programs that speak the control API
(ttrpc, api/v1/vublk.proto) tell it to.

Definitions are kept in the state directory, one file each, and are served again after a restart. Each export is
there by itself: one that cannot be served, because its image is missing for example, is listed as failed with the
reason, and the others are served. A definition that is damaged is set aside and reported, never guessed at.

The control socket is for root and for the user that the daemon runs as; --group lets the members of a group call, too.

With --supervise, or under systemd with FileDescriptorStoreMax=, guests outlive the daemon: after kill -9, a restart
or an upgrade (SIGUSR2 to the supervisor) the next process goes on with the same connections. Under systemd SIGTERM
leaves sessions to it as well, so that 'systemctl restart' is a pause; 'systemctl stop' ends them.

SIGHUP looks at the sizes of all disks, SIGUSR1 clears the flush errors of all ('vublk export clear-error' of one).
Exit status 2 means that the state directory, the socket, an option or the kernel is wrong and nothing was begun.`

const daemonExample = `  # the defaults: definitions in /var/lib/vublk, control socket /run/vublk/control.sock
  vublk daemon

  # by hand, without root, with metrics for Prometheus
  vublk daemon --state-dir=state --listen=control.sock --metrics=localhost:9127

  # guests that do not notice when it dies
  vublk daemon --supervise`

// The places of a daemon that was told of no others.
const (
	defaultStateDir = "/var/lib/vublk"
	defaultControl  = "/run/vublk/control.sock"
)

// daemonFlags are what the options of daemon were set to.
type daemonFlags struct {
	processFlags
	stateDir string
	listen   string
	group    string
}

func daemonCommand(stderr io.Writer) *cobra.Command {
	var f daemonFlags
	cmd := &cobra.Command{
		Use:     "daemon",
		Short:   "Serve the disks of a host, by an API",
		Long:    daemonLong,
		Example: daemonExample,
		Args:    cli.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		if f.stateDir == "" { // which would be where we are
			return cli.Usagef("--state-dir: missing; name a directory, or leave it out for %s", defaultStateDir)
		}
		group, err := f.groupID()
		if err != nil {
			return err
		}
		process := f.options(stderr)
		if f.super.Wanted() {
			return cli.Supervise(f.super, process, nil)
		}
		listen, err := filepath.Abs(f.listen)
		if err != nil {
			return err
		}
		return cli.Daemon(cli.DaemonOptions{
			Process: process, StateDir: f.stateDir, Listen: listen, Group: group,
			API: func(d *daemon.Daemon, l *net.UnixListener, log *slog.Logger) (func(context.Context), error) {
				return serveAPI(d, l, group, log)
			},
		})
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *daemonFlags) add(flags *pflag.FlagSet) {
	const group = "Daemon"
	f.stateDir, f.listen = defaultStateDir, defaultControl
	flags.Var(textFlag("DIRECTORY", &f.stateDir), "state-dir", "keep the definitions of exports in this directory, which is made when there is none")
	flags.Var(textFlag("PATH", &f.listen), "listen", "control socket; under systemd a socket named control takes its place")
	flags.Var(textFlag("GROUP", &f.group), "group", "let the members of this group, a name or a number, call, too")
	cli.Group(flags, group, "state-dir", "listen", "group")
	f.processFlags.add(flags)
	f.super = cli.AddSuperviseOptions(flags)
	f.log = cli.AddLogOptions(flags)
}

// groupID is the number of --group, -1: none.
func (f *daemonFlags) groupID() (int, error) {
	if f.group == "" {
		return -1, nil
	}
	// What does not fit would be cut to the number of some other group, and the last one tells chown(2) to change nothing.
	if n, err := strconv.ParseUint(f.group, 10, 32); err == nil && n < math.MaxUint32 {
		return int(n), nil
	}
	g, err := user.LookupGroup(f.group)
	if err != nil {
		return 0, cli.Usagef("--group=%s: no group has this name; 'getent group' lists them", f.group)
	}
	return strconv.Atoi(g.Gid)
}

// serveAPI lets clients in.
func serveAPI(d *daemon.Daemon, l *net.UnixListener, group int, log *slog.Logger) (end func(context.Context), err error) {
	s, err := control.New(control.Options{Daemon: control.For(d), Group: group, Log: log})
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return func(ctx context.Context) {
		err := s.Close(ctx)
		if e := <-served; err == nil {
			err = e
		}
		if err != nil {
			log.Warn("the control socket ended with an error", "error", err)
		}
	}, nil
}
