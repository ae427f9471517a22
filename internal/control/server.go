package control

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// Options are what a Server needs.
type Options struct {
	Daemon Daemon
	Group  int // whose members may call, beside root and the daemon's own user; -1: nobody
	Log    *slog.Logger
	Limits Limits
}

// Server answers clients. Any goroutine may call it.
type Server struct {
	o       Options
	rpc     *ttrpc.Server
	calls   calls
	sampler sampler
	report  reporter

	ctx        context.Context // of everything
	stop       context.CancelFunc
	streams    context.Context // of streams, which end first
	endStreams context.CancelFunc

	mu        sync.Mutex
	listeners map[*net.UnixListener]bool
	clients   map[*guard]peer
	closed    bool
	running   sync.WaitGroup
}

// New makes a Server; it serves nobody yet.
func New(o Options) (*Server, error) {
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, listeners: map[*net.UnixListener]bool{}, clients: map[*guard]peer{}}
	s.calls.limits = &s.o.Limits
	s.report.log = o.Log
	s.sampler.collect = s.collect
	quiet := logrus.New() // what ttrpc says of a connection, the guard has reported where it matters
	quiet.SetOutput(io.Discard)
	s.ctx, s.stop = context.WithCancel(log.WithLogger(context.Background(), logrus.NewEntry(quiet)))
	s.streams, s.endStreams = context.WithCancel(s.ctx)
	rpc, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(s.intercept))
	if err != nil {
		return nil, errors.WithStack(err)
	}
	vublkv1.RegisterExportsService(rpc, &exports{s.o.Daemon})
	vublkv1.RegisterObserveService(rpc, &observe{s})
	rpc.RegisterService("", oversized)
	s.rpc = rpc
	return s, nil
}

// firstPause and longestPause are between attempts to accept.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = time.Second
)

// Serve accepts clients on l, which becomes the Server's, until Close. Several listeners may be served at a time.
func (s *Server) Serve(l *net.UnixListener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.WithStack(l.Close())
	}
	s.listeners[l] = true
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	for pause := firstPause; ; {
		conn, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = firstPause
			s.admit(conn)
			continue
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		}
		// Out of descriptors or memory, mostly: that passes.
		s.report.warn("no client can be accepted now", "error", err)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
}

// admit serves conn if that is somebody who may call and there is room.
func (s *Server) admit(conn *net.UnixConn) {
	who, err := peerOf(conn)
	if err != nil || !who.mayCall(s.o.Group) {
		s.report.warn("a client was turned away: only root, the daemon's user and members of its group may call",
			because(err, "client", who.String())...)
		_ = conn.Close()
		return
	}
	g := newGuard(conn, &s.o.Limits, func(reason string, err error) {
		s.report.warn("a client was disconnected: "+reason, because(err, "client", who.String())...)
	})
	if reason := s.enter(g, who); reason != "" {
		s.report.warn("a client was turned away: "+reason, "client", who.String())
		_ = g.Close()
		return
	}
	go func() {
		defer s.running.Done()
		ctx := context.WithValue(s.ctx, clientKey{}, &client{guard: g, peer: who})
		_ = s.rpc.Serve(ctx, &oneConn{g: g}) // until g is closed
		s.mu.Lock()
		delete(s.clients, g)
		s.mu.Unlock()
	}()
}

// idleEnough is how long a connection must be idle to make room for another.
const idleEnough = time.Second

// enter counts g in, or says why not. The client that has been idle for longest makes room.
func (s *Server) enter(g *guard, who peer) (reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "the daemon is ending"
	}
	var idlest, idlestOwn *guard
	var since, sinceOwn time.Time
	own := 0
	for other, owner := range s.clients {
		t, idle := other.idleSince()
		idle = idle && time.Since(t) >= idleEnough
		if idle && (idlest == nil || t.Before(since)) {
			idlest, since = other, t
		}
		if owner.uid != who.uid {
			continue
		}
		own++
		if idle && (idlestOwn == nil || t.Before(sinceOwn)) {
			idlestOwn, sinceOwn = other, t
		}
	}
	var leave *guard
	switch {
	case !who.owner() && own >= s.o.Limits.PerUser:
		if leave = idlestOwn; leave == nil {
			return "its user has too many connections, none of them idle"
		}
	case len(s.clients) >= s.o.Limits.Connections:
		if leave = idlest; leave == nil {
			return "there are too many connections, none of them idle"
		}
	}
	if leave != nil {
		delete(s.clients, leave)
		_ = leave.Close()
	}
	s.clients[g] = who
	s.running.Add(1)
	return ""
}

// Close ends everything: streams are told so, calls may end until ctx does, then connections are cut.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.endStreams()
	for l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.calls.drain(ctx)
	s.answered(ctx)
	s.stop()
	s.mu.Lock()
	for g := range s.clients {
		_ = g.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.calls.wait()
	s.sampler.wait.Wait()
	return errors.WithStack(s.rpc.Close())
}

// answered waits until every client has been sent its answers, or ctx ends.
func (s *Server) answered(ctx context.Context) {
	const pause = time.Millisecond
	for {
		s.mu.Lock()
		waiting := false
		for g := range s.clients {
			_, idle := g.idleSince()
			waiting = waiting || !idle
		}
		s.mu.Unlock()
		if !waiting {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// client is who calls, in the context of a call.
type client struct {
	guard *guard
	peer  peer
}

type clientKey struct{}

// oneConn is a listener that has one connection: ttrpc then has a context for each, and says when it has ended.
type oneConn struct {
	g     *guard
	taken bool
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (net.Conn, error) {
	if l.taken {
		<-l.g.closed
		return nil, net.ErrClosed
	}
	l.taken = true
	return l.g, nil
}

// Close implements net.Listener.
func (l *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return l.g.LocalAddr() }
