package vublk

import (
	"context"
	"net"
)

// ListenAndServe serves disk at a Unix socket that it makes at path, until ctx ends, on workers of its own: one for each CPU
// that the process may run on. It returns nil when ctx has ended and all requests and the Disk's last flush have ended well;
// else what Server.Listen, or the flush, has failed with. For several Disks make a Server.
func ListenAndServe(ctx context.Context, path string, disk Disk, o Options) error {
	return serve(ctx, o, func(s *Server) (*Export, error) { return s.Listen(path, disk, o) })
}

// Serve is ListenAndServe at a socket that listens already. It owns l, also when it fails, as Server.Serve may.
func Serve(ctx context.Context, l *net.UnixListener, disk Disk, o Options) error {
	return serve(ctx, o, func(s *Server) (*Export, error) { return s.Serve(l, disk, o) })
}

func serve(ctx context.Context, o Options, begin func(*Server) (*Export, error)) error {
	s, err := NewServer(ServerOptions{Log: o.Log})
	if err != nil {
		return err
	}
	e, err := begin(s)
	if err != nil {
		_ = s.Close() // it serves nothing
		return err
	}
	select {
	case <-ctx.Done():
		return s.Close()
	case <-e.Done():
	}
	err = e.Err()
	if end := s.Close(); err == nil {
		err = end
	}
	return err
}
