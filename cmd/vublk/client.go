package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/cli"
)

// daemonVariable names the daemon's socket where --daemon does not.
const daemonVariable = "VUBLK_DAEMON"

// daemonSocket is where clients look for a daemon.
func daemonSocket() string {
	if path := os.Getenv(daemonVariable); path != "" {
		return path
	}
	return defaultControl
}

// clientOptions are those of each command that speaks to a daemon.
type clientOptions struct {
	socket  string
	timeout time.Duration
	output  *cli.Choice
}

// addClientOptions adds --daemon, --timeout and --output.
func addClientOptions(flags *pflag.FlagSet) *clientOptions {
	o := addDaemonOption(flags)
	flags.VarP((*durationValue)(&o.timeout), "timeout", "", "give up after that long, such as 30s (default: wait for the daemon)")
	o.output = cli.AddChoice(flags, "output", "how to write it; json is protobuf's, with the names of api/v1/vublk.proto", "table", "table", "json")
	cli.Group(flags, daemonGroup, "timeout", "output")
	return o
}

// daemonGroup is where help shows them.
const daemonGroup = "Daemon"

// addDaemonOption adds --daemon alone.
func addDaemonOption(flags *pflag.FlagSet) *clientOptions {
	o := &clientOptions{}
	socket := daemonSocket()
	flags.Var(textFlag("SOCKET", &o.socket), "daemon", "the daemon's control socket; "+daemonVariable+" sets the default")
	f := flags.Lookup("daemon")
	f.DefValue, o.socket = socket, socket
	cli.Group(flags, daemonGroup, "daemon")
	return o
}

// onlyUTF8 rejects what the API has no words for. The daemon's own socket may have any name.
func onlyUTF8(cmd *cobra.Command, args []string) (err error) {
	check := func(option, value string) {
		if err == nil && !utf8.ValidString(value) {
			err = cli.Usagef("%s%+q: not UTF-8, and the daemon knows no other text; give it another name", option, value)
		}
	}
	for _, a := range args {
		check("", a)
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "daemon" {
			check("--"+f.Name+"=", f.Value.String())
		}
	})
	return err
}

func (o *clientOptions) json() bool { return o.output.String() == "json" }

// client is a connection to a daemon.
type client struct {
	exports vublkv1.ExportsService
	observe vublkv1.ObserveClient
	socket  string
	rpc     *ttrpc.Client
}

// call connects and runs f, until --timeout or a signal ends it; what went wrong it turns into what the operator can do.
func (o *clientOptions) call(ctx context.Context, f func(context.Context, *client) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	c, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return o.explain(f(ctx, c))
}

// dial connects to the daemon, or says why there is none.
func (o *clientOptions) dial(ctx context.Context) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", o.socket)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, cli.Usagef("no daemon listens at %s; start one with 'systemctl start vublk' or 'vublk daemon', or say where it listens with --daemon=SOCKET or %s",
			o.socket, daemonVariable)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return nil, cli.Usagef("the daemon at %s is not yours to call: be root, its user, or a member of the group that it was started with (--group)", o.socket)
	case errors.Is(err, syscall.EINVAL):
		return nil, cli.Usagef("--daemon=%s: no path of a Unix socket, which has 1 to 107 bytes", o.socket)
	default:
		return nil, cli.Usage(errors.Wrapf(err, "no daemon can be reached at %s", o.socket))
	}
	log.L.Logger.SetOutput(io.Discard) // what ttrpc has to say is in its errors
	rpc := ttrpc.NewClient(conn)
	return &client{exports: vublkv1.NewExportsClient(rpc), observe: vublkv1.NewObserveClient(rpc), socket: o.socket, rpc: rpc}, nil
}

func (c *client) close() {
	_ = c.rpc.Close()
	_ = c.rpc.UserOnCloseWait(context.Background())
}

// explain makes one line of a call's error, with the exit status that it deserves.
func (o *clientOptions) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ttrpc.ErrClosed):
		return errors.Errorf("the daemon at %s closed the connection: it is ending, or you may not call it; its log says which", o.socket)
	case errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded:
		return errors.Errorf("no answer within --timeout=%v; what the daemon has begun it may go on with: 'vublk export show' tells", o.timeout)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; what the daemon has begun it may go on with: 'vublk export show' tells")
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	said := errors.New(asOptions(s.Message()))
	switch s.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition: // nothing was begun
		return cli.Usage(said)
	case codes.Unimplemented:
		return errors.Errorf("the daemon at %s does not know this call (%v): it is an older vublk", o.socket, said)
	default:
		return said
	}
}

// fieldAtFirst is the field of a call that a message begins with.
var fieldAtFirst = regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)?`)

// asOptions calls that field what the command line does.
func asOptions(message string) string {
	field := fieldAtFirst.FindString(message)
	rest := message[len(field):]
	switch of, name, inside := strings.Cut(strings.ReplaceAll(field, "_", "-"), "."); {
	case of == "create-size-bytes":
		return "--create-size" + rest
	case of == "size-bytes":
		return "SIZE" + rest
	case of == "definition" && inside:
		return "--" + name + rest
	case of == "options" && inside:
		return name + rest
	}
	return message
}

// durationValue is a flag whose help says what it takes.
type durationValue time.Duration

func (v *durationValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}
func (v *durationValue) Type() string { return "DURATION" }

// Set implements pflag.Value.
func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.Errorf("%q is no time span; write 500ms, 30s or 5m", s)
	}
	*v = durationValue(d)
	return nil
}

// completeNames offers the names of the daemon's exports that are not among args, if that is not too many names.
func (o *clientOptions) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
		defer cancel()
		c, err := o.dial(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.close()
		list, err := c.exports.List(ctx, &vublkv1.ListRequest{NamePrefix: prefix})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, e := range list.GetExports() {
			name := e.GetDefinition().GetName()
			if !slices.Contains(args, name) {
				names = append(names, fmt.Sprintf("%s\t%s", name, stateText(e.GetState())))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
