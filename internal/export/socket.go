package export

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
)

// socket yields front-ends, one connection after the other. Only the runner uses it.
type socket interface {
	// next waits for a front-end. io.EOF: there will be no other.
	next(ctx context.Context) (*net.UnixConn, error)
	close() error
	// leave is close for a socket that goes on in another process.
	leave()
	// kind is what the log says once front-ends may come: "listening".
	kind() string
}

// openSocket makes the socket that d asks for. One that a predecessor listened on is taken over, so that no front-end
// finds nobody there, and the holder has it for a successor.
func (e *Export) openSocket() (socket, error) {
	d := e.def.Socket
	switch {
	case d.FD >= 0:
		return inherit(d.FD, e.log)
	case d.Connect != "":
		return &dialer{path: d.Connect, log: e.log}, nil
	}
	if kept := e.heritage.take(kindListen); kept != nil {
		l, err := vhostuser.ListenOn(d.Path, kept.Disown())
		if err == nil {
			return &listener{l: l, log: e.log}, nil
		}
		e.log.Warn("the socket that was kept cannot be used", "error", err)
	}
	l, err := vhostuser.Listen(d.Path)
	if err != nil {
		return nil, err
	}
	if e.holder != nil {
		err = e.storeListener(l)
	}
	if err != nil {
		e.log.Warn("the socket will not survive the death of vublk", "error", err)
	}
	return &listener{l: l, log: e.log}, nil
}

func (e *Export) storeListener(l *vhostuser.Listener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = e.holder.Store(e.prefix+kindListen, int(fd)) })
	if err == nil {
		err = controlErr
	}
	return err
}

// Pauses between attempts, after an error and between dials: each twice the one before.
const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 5 * time.Second
)

// listener accepts; front-ends that come during a session wait in the kernel's backlog.
type listener struct {
	l   acceptor
	log *slog.Logger
}

// acceptor is a socket that vhostuser.Listen named, or one that came listening and whose name is not ours.
type acceptor interface {
	AcceptUnix() (*net.UnixConn, error)
	SetDeadline(t time.Time) error
	Close() error
}

func (s *listener) kind() string { return "listening" }
func (s *listener) close() error { return errors.Wrap(s.l.Close(), "close the socket") }

func (s *listener) leave() {
	if l, ok := s.l.(*vhostuser.Listener); ok {
		_ = l.UnixListener.Close() // and not its name
		return
	}
	_ = s.l.Close()
}

func (s *listener) next(ctx context.Context) (*net.UnixConn, error) {
	// A deadline in the past ends a blocked accept.
	stop := context.AfterFunc(ctx, func() { _ = s.l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for pause := firstBackOff; ; pause = min(2*pause, longestBackOff) {
		conn, err := s.l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return nil, ctx.Err()
		case err == nil:
			return conn, nil
		}
		// Out of descriptors or memory, mostly: it passes, and other exports live on.
		s.log.Error("no front-end can be accepted now", "error", err, "again_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// dialer connects to a front-end that listens.
type dialer struct {
	path string
	log  *slog.Logger

	last  time.Time // of the last success
	pause time.Duration
}

func (s *dialer) kind() string { return "connecting" }
func (s *dialer) close() error { return nil }
func (s *dialer) leave()       {}

func (s *dialer) next(ctx context.Context) (*net.UnixConn, error) {
	// A front-end that hangs up at once must not be dialled in a tight loop.
	if time.Since(s.last) > longestBackOff {
		s.pause = 0
	}
	for failures := 0; ; failures++ {
		if err := sleep(ctx, s.pause); err != nil {
			return nil, err
		}
		s.pause = min(max(2*s.pause, firstBackOff), longestBackOff)
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.path)
		if err == nil {
			s.last = time.Now()
			return conn.(*net.UnixConn), nil
		}
		level := slog.LevelDebug
		if failures == 0 {
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "the front-end does not listen; going on trying", "error", err)
	}
}

// once is a socket that came connected: it serves one session.
type once struct{ conn *net.UnixConn }

func (s *once) kind() string { return "connected" }

func (s *once) close() error {
	if s.conn == nil {
		return nil
	}
	return errors.Wrap(s.conn.Close(), "close the socket")
}

func (s *once) leave() { _ = s.close() }

func (s *once) next(ctx context.Context) (*net.UnixConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.conn == nil {
		return nil, io.EOF
	}
	conn := s.conn
	s.conn = nil
	return conn, nil
}

// sleep pauses for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ctx.Err()
	}
}
