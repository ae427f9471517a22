package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// scrapeEvery is how often metrics are scraped, and all exports listed: Prometheus does it every 15 seconds or so.
const scrapeEvery = 500 * time.Millisecond

// observed is a contestant: a daemon with one export, whose metrics are scraped and whose API is used meanwhile, or not.
type observed struct {
	*duel.Backend
	program, disk, control, metrics string

	by bool // somebody
}

func newObserved(s *site, dir, label string, by bool) *observed {
	at := func(end string) string { return filepath.Join(dir, label+end) }
	o := &observed{program: s.vublk, disk: at(".sock"), control: at(".control"), metrics: at(".metrics"), by: by}
	o.Backend = &duel.Backend{
		Label: label, CPU: s.backendCPU, Log: at(".log"), Socket: o.control, // to be waited for
		Argv: []string{s.vublk, "daemon", "--workers=1", "--state-dir=" + at(".state"), "--listen=" + o.control, "--metrics=" + o.metrics},
	}
	return o
}

// Start starts the daemon and creates the export.
func (o *observed) Start(ctx context.Context) error {
	if err := o.Backend.Start(ctx); err != nil {
		return err
	}
	create := exec.CommandContext(ctx, o.program, "export", "create", "null", "--daemon="+o.control, "--socket-path="+o.disk, "--store=null:1GiB")
	if out, err := create.CombinedOutput(); err != nil {
		return errors.Wrapf(err, "%s: %s", create, out)
	}
	o.Socket = o.disk
	return nil
}

// Turn loads the disk.
func (o *observed) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	if !o.by {
		return o.Backend.Turn(ctx, load)
	}
	seen, end, err := o.observe(ctx)
	if err != nil {
		return bench.Result{}, err
	}
	r, err := o.Backend.Turn(ctx, load)
	if e := end(); err == nil {
		err = e
	}
	if err == nil && (seen.scrapes == 0 || seen.samples == 0) {
		err = errors.Errorf("%d scrapes and %d samples only in %v", seen.scrapes, seen.samples, load.Duration)
	}
	return r, err
}

// sights are what observers got.
type sights struct{ scrapes, samples int }

// observe scrapes and lists again and again, and follows statistics and events, until end.
func (o *observed) observe(ctx context.Context) (seen *sights, end func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := net.Dial("unix", o.control)
	if err != nil {
		cancel()
		return nil, nil, errors.WithStack(err)
	}
	log.L.Logger.SetOutput(io.Discard) // what ttrpc has to say is in its errors
	rpc := ttrpc.NewClient(conn)
	seen = &sights{}
	var all sync.WaitGroup
	said := make(chan error, 3)
	follow := func(f func() error) {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil && ctx.Err() == nil {
					said <- err
					return
				}
			}
		})
	}
	stats, err := vublkv1.NewObserveClient(rpc).WatchStats(ctx, &vublkv1.WatchStatsRequest{Queues: true, IntervalNs: int64(scrapeEvery)})
	if err == nil {
		var events vublkv1.Observe_EventsClient
		if events, err = vublkv1.NewObserveClient(rpc).Events(ctx, &vublkv1.EventsRequest{}); err == nil {
			follow(func() error { _, err := events.Recv(); return err })
			follow(func() error { _, err := stats.Recv(); seen.samples++; return err })
			follow(func() error { return o.scrape(ctx, rpc, seen) })
		}
	}
	return seen, func() error {
		cancel()
		_ = rpc.Close()
		all.Wait()
		select {
		case err := <-said:
			return err
		default:
			return nil
		}
	}, err
}

// scrape does what Prometheus does, and a platform that looks at its disks.
func (o *observed) scrape(ctx context.Context, rpc *ttrpc.Client, seen *sights) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", o.metrics)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vublk/metrics", nil)
	if err != nil {
		return errors.WithStack(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return errors.WithStack(err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if err == nil {
		_, err = vublkv1.NewExportsClient(rpc).List(ctx, &vublkv1.ListRequest{})
	}
	seen.scrapes++
	select {
	case <-ctx.Done():
	case <-time.After(scrapeEvery):
	}
	return errors.WithStack(err)
}

// observation compares a daemon that is looked at with one that is not.
func observation(s *site) []*entry {
	dir := filepath.Join(s.disk, "observed")
	load := s.load(32)
	load.Duration = time.Second
	e := &entry{dirs: []string{dir}}
	e.Contest = duel.Contest{
		Name: "observed", Title: "Null store of a daemon, with metrics scraped and the API in use", Load: load, Rounds: 30, Control: [2]string{vublk, again},
		Contestants: []duel.Contestant{
			newObserved(s, dir, vublk, false), newObserved(s, dir, "vublk-observed", true), newObserved(s, dir, again, false),
		},
		Comparisons: []duel.Comparison{{Metric: duel.IOPS, Of: "vublk-observed", To: vublk, Within: 0.03}},
	}
	e.Note = "Twice a second /metrics is scraped and all exports are listed, statistics with queues come twice a second, and events as they happen. " +
		"The limit is the larger of 3 % and twice the spread."
	return []*entry{e}
}
