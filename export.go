package vublk

import (
	"net"

	"github.com/vublk/vublk/internal/export"
)

// Export is one Disk at one socket. It serves one front-end at a time, one after the other.
type Export struct {
	server *Server
	inner  *export.Export
}

// Name returns what log lines call the export.
func (e *Export) Name() string { return e.inner.Definition().Name }

// State returns where the export is in its life.
func (e *Export) State() State { return states[e.inner.State()] }

// Done is closed when the export has ended: by Close, the Server's Close, or an error, which Err returns then. The Disk is not
// used any more.
func (e *Export) Done() <-chan struct{} { return e.inner.Done() }

// Err is why the export has ended, nil when it was told to. It waits for the end.
func (e *Export) Err() error { return translate(e.inner.Err()) }

// Resize looks at the size in the Disk's Info, or at the file, and gives it to the guest while everything runs. It returns
// the size that the guest had and the one that the Disk has, in bytes. A Disk that grows has its new end before Resize is
// called.
//
// A size that is not a whole number of blocks is refused. So is a smaller one, whose guest loses data, unless force is set; a
// Disk that shrinks must bear requests beyond its new end until Resize has returned. After an error the guest has the size it
// had. ErrNotServing: the export has ended.
func (e *Export) Resize(force bool) (had, has int64, err error) {
	r, err := e.inner.Resize(force)
	return r.Old, r.New, translate(err)
}

// ClearFlushError lets flushes be tried again after a failed one (blk.FlushErrorSticky): whoever calls it knows that nothing
// was lost, or that it does not matter. False: none has failed.
func (e *Export) ClearFlushError() bool { return e.inner.ClearFlushError() }

// Close ends the export: nothing new is taken from the guest, requests in flight end, the Disk is flushed, the socket is
// gone. It returns the first error of that, and nil when the export had ended before. It waits for a Disk that hangs.
func (e *Export) Close() error { return translate(e.server.registry.End(e.inner)) }

// add makes an export and waits until front-ends may come.
func (s *Server) add(path string, l *net.UnixListener, disk Disk, o Options) (*Export, error) {
	inner, err := s.registry.CreateGiven(o.definition(path), export.Given{Disk: disk, Listener: l, Log: o.Log})
	if err == nil {
		inner.Start()
		if !inner.Listened() {
			err = inner.Err()
			_ = s.registry.End(inner) // it has ended, and holds its name only
			if err == nil {
				err = ErrClosed
			}
		}
	}
	switch {
	case err == nil:
		return &Export{server: s, inner: inner}, nil
	case s.closed.Load():
		return nil, ErrClosed
	}
	return nil, translate(err)
}
