package control

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/export"
)

// observe is the service of that name.
type observe struct{ s *Server }

var _ vublkv1.ObserveService = (*observe)(nil)

// The time between two of WatchStats.
const (
	shortestInterval = 100 * time.Millisecond
	defaultInterval  = time.Second
)

// Stats implements vublkv1.ObserveService.
func (o *observe) Stats(ctx context.Context, r *vublkv1.StatsRequest) (*vublkv1.StatsResponse, error) {
	all, err := o.s.sampler.take(ctx)
	if err != nil {
		return nil, err
	}
	return pick(all, r.GetNames(), r.GetQueues(), true)
}

// Info implements vublkv1.ObserveService.
func (o *observe) Info(context.Context, *vublkv1.InfoRequest) (*vublkv1.InfoResponse, error) {
	info := o.s.o.Daemon.Info()
	return infoOf(&info), nil
}

// WatchStats implements vublkv1.ObserveService.
func (o *observe) WatchStats(ctx context.Context, r *vublkv1.WatchStatsRequest, to vublkv1.Observe_WatchStatsServer) error {
	return o.s.stream(ctx, func(ctx context.Context) error {
		interval := time.Duration(r.GetIntervalNs())
		switch {
		case interval == 0:
			interval = defaultInterval
		case interval < shortestInterval:
			return &export.OptionError{
				Option: "interval_ns", Value: strconv.FormatInt(r.GetIntervalNs(), 10), Reason: "shorter than 100 ms",
				Remedy: "take 100000000 or more; counters lose nothing in between",
			}
		}
		ticker := time.NewTicker(interval) // which drops ticks while a client does not read
		defer ticker.Stop()
		for {
			all, err := o.s.sampler.take(ctx)
			if err != nil {
				return err
			}
			some, err := pick(all, r.GetNames(), r.GetQueues(), false)
			if err != nil {
				return err
			}
			if err := to.Send(some); err != nil {
				return err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// Events implements vublkv1.ObserveService.
func (o *observe) Events(ctx context.Context, r *vublkv1.EventsRequest, to vublkv1.Observe_EventsServer) error {
	return o.s.stream(ctx, func(ctx context.Context) error {
		from := o.s.o.Daemon.Subscribe(r.GetNames())
		defer from.Close()
		begin := &vublkv1.Event{TimeUnixNs: time.Now().UnixNano(), Kind: vublkv1.EventKind_EVENT_KIND_BEGIN, Message: "events from now on"}
		if err := to.Send(begin); err != nil {
			return err
		}
		for {
			select {
			case e, open := <-from.Events():
				if !open {
					return from.Err()
				}
				if err := to.Send(eventOf(&e)); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// stream runs f for a client, until its connection ends or the server does.
func (s *Server) stream(ctx context.Context, f func(context.Context) error) error {
	who, ok := ctx.Value(clientKey{}).(*client)
	if !ok {
		return status.Error(codes.Internal, "a stream of nobody")
	}
	if err := s.calls.enter(who.guard, true); err != nil {
		return err
	}
	defer s.calls.leave(who.guard, true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.streams, cancel)
	defer stop()
	err := f(ctx)
	if s.streams.Err() != nil {
		return status.Error(codes.Unavailable, "the daemon is ending; connect again when it is back")
	}
	return statusOf(ctx, err)
}

// pick leaves what names and queues ask for. When all of names must be there, one that is not is an error.
func pick(all *vublkv1.StatsResponse, names []string, queues, must bool) (*vublkv1.StatsResponse, error) {
	some := &vublkv1.StatsResponse{TimeUnixNs: all.GetTimeUnixNs(), Workers: all.GetWorkers()}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, e := range all.GetExports() {
		if len(names) > 0 && !wanted[e.GetName()] {
			continue
		}
		delete(wanted, e.GetName())
		if !queues && len(e.GetQueues()) > 0 {
			e = &vublkv1.ExportStats{
				Name: e.GetName(), State: e.GetState(), Total: e.GetTotal(), Fdatasyncs: e.GetFdatasyncs(),
				FdatasyncErrors: e.GetFdatasyncErrors(), Sessions: e.GetSessions(), Resumes: e.GetResumes(),
			}
		}
		some.Exports = append(some.Exports, e)
	}
	for _, name := range names {
		if must && wanted[name] {
			return nil, notFound(name)
		}
	}
	if _, err := fits(some); err != nil {
		return nil, err
	}
	return some, nil
}

func notFound(name string) error {
	return &Error{Kind: NotFound, Text: "no export is called " + strconv.Quote(name) + "; List names them all"}
}
