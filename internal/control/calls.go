package control

import (
	"context"
	"path"
	"sync"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// calls counts what runs.
type calls struct {
	limits *Limits

	mu       sync.Mutex
	running  int // streams included
	streams  int
	changed  chan struct{} // closed at the next end of a call that somebody waits for
	draining bool
}

// enter admits a call of g, or says why not. Who is admitted leaves.
func (c *calls) enter(g *guard, stream bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.draining:
		return status.Error(codes.Unavailable, "the daemon is ending; connect again when it is back")
	case c.running >= c.limits.Calls:
		return status.Errorf(codes.ResourceExhausted, "%d calls of all clients run, more are not taken; try again later", c.limits.Calls)
	case stream && c.streams >= c.limits.Streams:
		return status.Errorf(codes.ResourceExhausted, "%d streams of all clients run, more are not taken; close some, or ask for Stats now and then", c.limits.Streams)
	}
	if limit, ok := g.enter(stream); !ok {
		return status.Errorf(codes.ResourceExhausted, "%d calls run on this connection, more are not taken; wait for answers, or close the connections of streams that nobody reads", limit)
	}
	c.running++
	if stream {
		c.streams++
	}
	return nil
}

func (c *calls) leave(g *guard, stream bool) {
	g.leave(stream)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if stream {
		c.streams--
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// drain admits nobody any more and waits until nothing runs, or ctx ends.
func (c *calls) drain(ctx context.Context) {
	for {
		c.mu.Lock()
		c.draining = true
		if c.running == 0 {
			c.mu.Unlock()
			return
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// wait waits until nothing runs: the contexts of calls have ended.
func (c *calls) wait() { c.drain(context.Background()) }

// intercept stands before each call that is no stream.
func (s *Server) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	who, ok := ctx.Value(clientKey{}).(*client)
	if !ok {
		return nil, status.Error(codes.Internal, "a call of nobody")
	}
	if err := s.calls.enter(who.guard, false); err != nil {
		return nil, err
	}
	defer s.calls.leave(who.guard, false)
	var name string
	strict := func(m any) error {
		if err := unmarshal(m); err != nil {
			return status.Errorf(codes.InvalidArgument, "the request is not what %s takes: %v; was it made with another vublk.proto?", info.FullMethod, status.Convert(err).Message())
		}
		name = nameIn(m)
		return nil
	}
	answer, err := method(ctx, strict)
	if err != nil {
		return nil, statusOf(ctx, err)
	}
	if changes[info.FullMethod] { // who has changed something is worth a line
		s.o.Log.InfoContext(ctx, "done for a client", "call", path.Base(info.FullMethod), "export", name, "client", who.peer.String())
	}
	return fits(answer)
}

// nameIn is the export that a request is about.
func nameIn(m any) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case *vublkv1.CreateRequest:
		return m.GetDefinition().GetName()
	}
	return ""
}

// oversized answers the request of no bytes, which the guard makes of one that is too long.
var oversized = &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
	"": func(context.Context, func(any) error) (any, error) {
		return nil, status.Error(codes.InvalidArgument, "the request is empty, or longer than 1 MiB; ask for fewer names at a time")
	},
}}
