package export

import (
	"context"
	"io"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// socket yields front-ends, one connection after the other. Only the runner uses it.
type socket interface {
	// begin lets front-ends and operators come, until ctx ends.
	begin(ctx context.Context)
	// next waits for a front-end, or an operator. io.EOF: there will be no other.
	next(ctx context.Context) (*net.UnixConn, *call, error)
	// calls brings operators while a front-end is served.
	calls() <-chan *call
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
	case e.given.Listener != nil:
		return newListener(e.given.Listener, e.log), nil
	case d.FD >= 0:
		return inherit(d.FD, e.log)
	case d.Connect != "":
		return &dialer{path: d.Connect, log: e.log}, nil
	}
	if kept := e.heritage.take(kindListen); kept != nil {
		l, err := vhostuser.ListenOn(d.Path, kept.Disown())
		if err == nil && !l.Named() { // it was killed when it was about to end
			err = errors.New("its name is gone")
			_ = l.Close()
		}
		if err == nil {
			return newListener(l, e.log), nil
		}
		e.log.Warn("the socket that was kept cannot be used", "error", err)
	}
	l, err := vhostuser.Listen(d.Path)
	if err != nil {
		return nil, &HostError{Option: "socket-path", Value: d.Path, Err: err}
	}
	s := newListener(l, e.log)
	if e.holder != nil {
		err = e.storeListener(s)
	}
	if err != nil {
		e.log.Warn("the socket will not survive the death of vublk", "error", err)
	}
	return s, nil
}

func (e *Export) storeListener(l *listener) error {
	f, err := l.duplicate()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return e.holder.Store(e.prefix+kindListen, f.Int())
}

// Pauses between attempts, after an error and between dials: each twice the one before.
const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 5 * time.Second
)

// listener accepts; front-ends that come during a session wait.
type listener struct {
	l         acceptor
	log       *slog.Logger
	reception *reception
	accepting chan struct{} // closed when nothing is accepted any more; nil: not begun
}

// acceptor is a socket that vhostuser.Listen named, or one that came listening and whose name is not ours.
type acceptor interface {
	AcceptUnix() (*net.UnixConn, error)
	SetDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
	Close() error
}

func newListener(l acceptor, log *slog.Logger) *listener {
	return &listener{l: l, log: log, reception: newReception(log)}
}

func (s *listener) kind() string { return "listening" }

func (s *listener) calls() <-chan *call { return s.reception.calls }

func (s *listener) close() error {
	err := s.l.Close()
	s.wait()
	return errors.Wrap(err, "close the socket")
}

func (s *listener) leave() {
	if l, ok := s.l.(*vhostuser.Listener); ok {
		_ = l.UnixListener.Close() // and not its name
	} else {
		_ = s.l.Close()
	}
	s.wait()
}

// wait is called when the runner's context has ended, and with it everybody's patience.
func (s *listener) wait() {
	if s.accepting != nil {
		<-s.accepting
	}
	s.reception.wait()
}

func (s *listener) begin(ctx context.Context) {
	s.accepting = make(chan struct{})
	go s.accept(ctx)
}

func (s *listener) next(ctx context.Context) (*net.UnixConn, *call, error) {
	select {
	case conn := <-s.reception.front:
		return conn, nil, nil
	case c := <-s.reception.calls:
		return nil, c, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// duplicate is a descriptor of the socket for another process. Not by File, which would make the socket block, for us too.
func (s *listener) duplicate() (f *sys.FD, err error) {
	err = control(s.l, func(fd int) (err error) {
		f, err = sys.NewFD(fd).Dup()
		return err
	})
	return f, err
}

// accept takes everybody in until ctx ends.
func (s *listener) accept(ctx context.Context) {
	defer close(s.accepting)
	// A deadline in the past ends a blocked accept.
	stop := context.AfterFunc(ctx, func() { _ = s.l.SetDeadline(longAgo) })
	defer stop()
	for pause := firstBackOff; ; {
		conn, err := s.l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return
		case err == nil:
			s.reception.receive(ctx, conn)
			pause = firstBackOff
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		// Out of descriptors or memory, mostly: it passes, and other exports live on.
		s.log.Error("no front-end can be accepted now", "error", err, "again_in", pause)
		if sleep(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, longestBackOff)
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// dialer connects to a front-end that listens.
type dialer struct {
	path string
	log  *slog.Logger

	last  time.Time // of the last success
	pause time.Duration
}

func (s *dialer) begin(context.Context) {}

func (s *dialer) kind() string { return "connecting" }
func (s *dialer) close() error { return nil }
func (s *dialer) leave()       {}

func (s *dialer) calls() <-chan *call { return nil }

func (s *dialer) next(ctx context.Context) (*net.UnixConn, *call, error) {
	// A front-end that hangs up at once must not be dialled in a tight loop.
	if time.Since(s.last) > longestBackOff {
		s.pause = 0
	}
	for failures := 0; ; failures++ {
		if err := sleep(ctx, s.pause); err != nil {
			return nil, nil, err
		}
		s.pause = min(max(2*s.pause, firstBackOff), longestBackOff)
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.path)
		if err == nil {
			s.last = time.Now()
			return conn.(*net.UnixConn), nil, nil
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

func (s *once) begin(context.Context) {}

func (s *once) kind() string { return "connected" }

func (s *once) close() error {
	if s.conn == nil {
		return nil
	}
	return errors.Wrap(s.conn.Close(), "close the socket")
}

func (s *once) leave() { _ = s.close() }

func (s *once) calls() <-chan *call { return nil }

func (s *once) next(ctx context.Context) (*net.UnixConn, *call, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if s.conn == nil {
		return nil, nil, io.EOF
	}
	conn := s.conn
	s.conn = nil
	return conn, nil, nil
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
