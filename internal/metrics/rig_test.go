package metrics

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// fake is a Source that says what it is told to, and hangs when it is told to.
type fake struct {
	exports []export.Stats
	workers []blk.WorkerStats
	hang    sync.RWMutex // held by the test: nobody is answered
	inside  atomic.Int32
	crowd   atomic.Int32 // the most that were inside at a time
	asked   atomic.Int32 // calls of Workers
}

func (f *fake) Stats() ([]export.Stats, []blk.WorkerStats) {
	f.crowd.Store(max(f.crowd.Load(), f.inside.Add(1)))
	defer f.inside.Add(-1)
	f.hang.RLock()
	defer f.hang.RUnlock()
	return f.exports, f.workers
}

func (f *fake) Workers() []blk.WorkerStats {
	f.asked.Add(1)
	f.hang.RLock()
	defer f.hang.RUnlock()
	return f.workers
}

// everything is a Source with a value of its own in every field.
func everything() *fake {
	n := uint64(100)
	next := func() uint64 { n++; return n }
	queue := func(index, worker int) blk.QueueStats {
		q := blk.QueueStats{Index: index, Worker: worker, InFlight: int(next()), Dead: worker < 0}
		for i, op := range q.Ops() {
			*op = blk.OpStats{Requests: next(), Bytes: next(), Errors: next(), Unsupported: next()}
			op.Latency.Counts = make([]uint64, 400)
			op.Latency.Counts[0], op.Latency.Counts[100+i], op.Latency.Counts[399] = 1, op.Requests-3, 2
			op.Latency.Sum = next() * uint64(time.Millisecond)
		}
		q.Kicks, q.Calls, q.Bounced, q.FlushesMerged = next(), next(), next(), next()
		q.Malformed, q.Barriers, q.Broken = next(), next(), next()
		return q
	}
	f := &fake{
		exports: []export.Stats{{
			Name: "a \"name\"\nof two lines", State: export.Attached, Cache: blk.CacheUnsafe, ReadOnly: true, Sessions: next(), Resumes: next(),
			Device: blk.Stats{
				Total: queue(0, -1), Queues: []blk.QueueStats{queue(0, 1), queue(7, -1)},
				Fdatasyncs: next(), FdatasyncErrors: next(), FlushFailed: true, Capacity: next(),
			},
		}, {Name: "b", State: export.WaitingForLock, Cache: blk.CacheAuto}},
	}
	for i := range 2 {
		f.workers = append(f.workers, blk.WorkerStats{
			Index: i, CPU: i - 1, Queues: int(next()), Idle: time.Duration(next()) * time.Second, Polling: time.Duration(next()) * time.Second,
			Busy: time.Duration(next()) * time.Second, PollsWon: next(), PollsLost: next(), Enters: next(), MovedIn: next(),
		})
	}
	return f
}

// absent are exports that are not open, and one that everything has, which is told of once.
func absent() []Absent {
	return []Absent{
		{Name: "b", State: "failed", Wanted: true}, {Name: "c", State: "failed", Wanted: true}, {Name: "d", State: "drained"},
	}
}

// site is a Server under test.
type site struct {
	t       *testing.T
	source  *fake
	unready atomic.Pointer[[]string]
	server  *Server
	address string
	client  *http.Client
}

func newSite(t *testing.T, source *fake) *site {
	t.Helper()
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newSiteOn(t, source, l)
}

func newSiteOn(t *testing.T, source *fake, l net.Listener) *site {
	t.Helper()
	s := &site{t: t, source: source, address: l.Addr().String()}
	s.unready.Store(&[]string{})
	server := Serve(l, Options{
		Source: source, Unready: func() []string { return *s.unready.Load() }, Absent: absent, Version: "1.2 \"3\"", Log: slog.New(slog.DiscardHandler),
	})
	s.server = server
	network := l.Addr().Network()
	s.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.address)
		},
	}}
	t.Cleanup(server.Close)
	return s
}

// get returns the status and the text of a page. Any goroutine may call it.
func (s *site) get(path string) (int, string, error) {
	r, err := s.client.Get("http://vublk" + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

func (s *site) want(path string, status int, part string) string {
	s.t.Helper()
	got, text, err := s.get(path)
	if err != nil || got != status || !strings.Contains(text, part) {
		s.t.Fatalf("%s: %v, %d %q; want %d with %q", path, err, got, text, status, part)
	}
	return text
}

// scrape returns the metrics at path by name.
func (s *site) scrape(path string) map[string]*dto.MetricFamily {
	s.t.Helper()
	text := s.want(path, http.StatusOK, "vublk_build_info")
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewBufferString(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return families
}

// values are the samples of all vublk_ metrics: "name{label=value,…}" and, of histograms, the parts by themselves.
func values(families map[string]*dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for name, f := range families {
		if !strings.HasPrefix(name, "vublk_") {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			key := name + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.GetCounter() != nil:
				all[key] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[key] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				all[key+" count"], all[key+" sum"] = float64(m.GetHistogram().GetSampleCount()), m.GetHistogram().GetSampleSum()
				for _, b := range m.GetHistogram().GetBucket() {
					all[fmt.Sprintf("%s le %g", key, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
			}
		}
	}
	return all
}
