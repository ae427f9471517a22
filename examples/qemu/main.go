// Command qemu starts a virtual machine on a disk that it has a vublk daemon make, and has it deleted when the machine ends:
// what a platform does that embeds the control API.
//
//	qemu -image=/var/lib/images/vm.raw -size=20 -- -m 2G -accel kvm -nographic
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

func main() {
	var m machine
	daemon := flag.String("daemon", "/run/vublk/control.sock", "the daemon's control socket")
	flag.StringVar(&m.name, "name", "vm", "of the export, and of its socket")
	flag.StringVar(&m.dir, "dir", "/run/vublk", "where the socket of the disk goes")
	flag.StringVar(&m.image, "image", "", "the image; made when it is not there")
	flag.Uint64Var(&m.gigabytes, "size", 1, "of an image that is made, in GiB")
	flag.StringVar(&m.memory, "memory", "512M", "of the machine")
	flag.Parse()
	m.more = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := m.run(ctx, *daemon)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "qemu:", err)
		os.Exit(1)
	}
}

type machine struct {
	name, dir, image, memory string
	gigabytes                uint64
	more                     []string // words for QEMU
}

// dial connects to the daemon. One connection serves any number of calls at a time; a stream wants one of its own, since ttrpc
// ends a stream only with its connection.
func dial(socket string) (*ttrpc.Client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, errors.Wrap(err, "is the daemon running?")
	}
	return ttrpc.NewClient(conn), nil
}

func (m *machine) run(ctx context.Context, socket string) (err error) {
	rpc, err := dial(socket)
	if err != nil {
		return err
	}
	defer func() { _ = rpc.Close() }()
	watching, err := dial(socket)
	if err != nil {
		return err
	}
	defer func() { _ = watching.Close() }() // which ends watch
	events, err := subscribe(ctx, vublkv1.NewObserveClient(watching), m.name)
	if err != nil {
		return err
	}
	go watch(events, m.name)

	exports := vublkv1.NewExportsClient(rpc)
	disk, err := m.create(ctx, exports)
	if err != nil {
		return err
	}
	defer func() {
		// With a context of its own: the machine may have been ended by a signal.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, e := exports.Delete(ctx, &vublkv1.DeleteRequest{Name: m.name}); err == nil {
			err = errors.Wrap(e, "delete the export")
		}
	}()
	return m.start(ctx, disk.GetDefinition().GetSocketPath())
}

// create has the daemon serve the image. The export outlives this program when it is killed, so it may be there already.
func (m *machine) create(ctx context.Context, exports vublkv1.ExportsService) (*vublkv1.Export, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	made, err := exports.Create(ctx, &vublkv1.CreateRequest{
		Definition: &vublkv1.Definition{
			Name:       m.name,
			SocketPath: filepath.Join(m.dir, m.name+".sock"),
			BlkFile:    m.image,
		},
		CreateSizeBytes: m.gigabytes << 30,
	})
	switch status.Code(err) {
	case codes.OK:
		return made.GetExport(), nil
	case codes.AlreadyExists:
		there, err := exports.Get(ctx, &vublkv1.GetRequest{Name: m.name})
		if err != nil {
			return nil, errors.Wrap(err, "look at the export")
		}
		return there.GetExport(), nil
	default: // its message names the field, the value, the reason and the way out
		return nil, errors.Wrap(err, "create the export")
	}
}

// subscribe returns when the daemon has said that events come from now on: none that happens later is missed.
func subscribe(ctx context.Context, observe vublkv1.ObserveClient, name string) (vublkv1.Observe_EventsClient, error) {
	events, err := observe.Events(ctx, &vublkv1.EventsRequest{Names: []string{name}})
	if err != nil {
		return nil, errors.Wrap(err, "watch the export")
	}
	begin, err := events.Recv()
	if err != nil {
		return nil, errors.Wrap(err, "watch the export")
	}
	tell(name, begin)
	return events, nil
}

// watch tells what happens to the disk.
func watch(events vublkv1.Observe_EventsClient, name string) {
	for {
		e, err := events.Recv()
		if err != nil {
			return // the connection is closed
		}
		tell(name, e)
	}
}

func tell(name string, e *vublkv1.Event) {
	_, _ = fmt.Fprintf(os.Stderr, "%s: %s\n", name, e.GetMessage())
}

// start runs QEMU until the machine ends. Its memory must be shareable: vublk does the guest's I/O straight into it.
func (m *machine) start(ctx context.Context, socket string) error {
	args := append([]string{
		"-machine", "pc,memory-backend=ram", "-m", m.memory,
		"-object", "memory-backend-memfd,id=ram,share=on,size=" + m.memory,
		"-chardev", "socket,id=disk,path=" + socket + ",reconnect=1", // QEMU from 9.2 on: reconnect-ms=1000
		"-device", "vhost-user-blk-pci,chardev=disk,bootindex=1",
	}, m.more...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return errors.Wrap(cmd.Run(), "QEMU")
}
