package vublk

import (
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/vublk/vublk/internal/export"
)

// Server serves Disks, each at a socket of its own, on workers that they share.
type Server struct {
	registry *export.Registry
	closed   atomic.Bool
}

// NewServer starts the workers. An error is an *OptionError, or an *iouring.UnsupportedError when the kernel is older than
// 5.15, or a sandbox forbids io_uring.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Workers < 0 {
		return nil, &OptionError{Option: "Workers", Value: strconv.Itoa(o.Workers), Reason: "not a number of threads", Remedy: "take 0 for one per CPU"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	registry, err := export.NewRegistry(export.RegistryOptions{
		Workers: o.Workers, CPUs: o.CPUs, Poll: o.Poll, Trace: o.TraceMessages, Log: o.Log,
	})
	if err != nil {
		return nil, translate(err)
	}
	return &Server{registry: registry}, nil
}

// Listen serves disk at a Unix socket that it makes at path, with the mode that the umask leaves; the file goes away with the
// export. A socket that a dead process has left there is replaced. It returns when front-ends may come, or with an error, and
// nothing has changed then: an *OptionError, one of package vhostuser's about the socket (ErrInUse, ErrNotSocket),
// ErrClosed, or one about the Disk's DiskInfo.
func (s *Server) Listen(path string, disk Disk, o Options) (*Export, error) {
	return s.add(path, nil, disk, o)
}

// Serve serves disk at a socket that listens already, such as one from systemd. The export owns l from here on, also when
// Serve fails. Apart from that it is Listen.
func (s *Server) Serve(l *net.UnixListener, disk Disk, o Options) (*Export, error) {
	return s.add("", l, disk, o)
}

// Pending names the requests that are in flight, one line each: what a Close that takes long waits for.
func (s *Server) Pending() []string { return s.registry.Pending() }

// Close ends all exports as Export.Close does, and then the workers. It returns the first error. A second call does nothing.
func (s *Server) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return translate(s.registry.Close())
}
