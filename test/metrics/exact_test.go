package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// parts of the names of metrics, by what a ledger calls them.
var metricNames = map[string]string{
	"requests": "vublk_requests_total", "bytes": "vublk_request_bytes_total",
	"errors": "vublk_request_errors_total", "unsupported": "vublk_request_unsupported_total",
}

// scrape returns the samples of the program: by "name export op queue", of histograms the count.
func (p *program) scrape(path string) map[string]float64 {
	p.t.Helper()
	status, text := p.get(path)
	if status != 200 {
		p.t.Fatalf("%s: %d %s", path, status, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	must(p.t, err)
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			all[sampleKey(name, m)] = sampleValue(m)
		}
	}
	return all
}

func sampleKey(name string, m *dto.Metric) string {
	label := map[string]string{}
	for _, l := range m.GetLabel() {
		label[l.GetName()] = l.GetValue()
	}
	return strings.TrimRight(name+" "+label["export"]+" "+label["op"]+" "+label["queue"], " ")
}

func sampleValue(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetGauge().GetValue()
}

// check compares every counter of requests with the ledger, and demands that there is no other.
func (l *ledger) check(t *testing.T, got map[string]float64) {
	t.Helper()
	seen := 0
	for key, v := range got {
		f := strings.Fields(key)
		if len(f) != 4 || f[1] != l.name {
			continue
		}
		for part, name := range metricNames {
			if f[0] == name {
				seen++
				if want := l.want[part+" "+f[2]+" "+f[3]]; v != float64(want) {
					t.Errorf("%s: %v, want %d", key, v, want)
				}
			}
		}
		if f[0] == "vublk_request_duration_seconds" && v != float64(l.want["requests "+f[2]+" "+f[3]]) {
			t.Errorf("%s: %v values of %d requests", key, v, l.want["requests "+f[2]+" "+f[3]])
		}
	}
	want := 0
	for q := range queues {
		for i, op := range []string{"read", "write", "flush", "discard", "write_zeroes", "other"} {
			if i < 3 || l.want[fmt.Sprintf("requests %s %d", op, q)] > 0 {
				want += len(metricNames)
			}
		}
	}
	if seen != want {
		t.Errorf("%s: %d counters, want %d", l.name, seen, want)
	}
	flushes := got["vublk_export_fdatasyncs_total "+l.name]
	for q := range queues {
		flushes += got[fmt.Sprintf("vublk_queue_flushes_merged_total %s  %d", l.name, q)]
	}
	if want := l.sum("requests", "flush") + l.syncs; int(flushes) != want {
		t.Errorf("%s: %v flushes merged and fdatasyncs, want %d", l.name, flushes, want)
	}
}

// newImage makes a sparse image that is as large as the disks of the load.
func newImage(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, diskSize))
	return path
}

// TestExact: every counter of the real program after a load of known size, and what a real Prometheus answers of it.
func TestExact(t *testing.T) {
	dir := t.TempDir()
	p := serve(t, dir, "127.0.0.1:0", []string{
		"a=blk-file=" + newImage(t, dir, "a.raw"), "b=blk-file=" + newImage(t, dir, "b.raw"),
	}, "--workers=2", "--cache=writeback")
	prometheus := startPrometheus(t, p.address())
	a, b := newLedger(t, "a", filepath.Join(dir, "a")), newLedger(t, "b", filepath.Join(dir, "b"))
	for round := range 3 {
		a.load(t, 300)
		b.load(t, 100)
		got := p.scrape("/metrics")
		a.check(t, got)
		b.check(t, got)
		if round == 1 { // a session ends, and another one goes on counting
			a.do(t, 0, "write", clitest.Out, 0, make([]byte, 512), 512, 0)
			must(t, a.guest.Disconnect())
			a.syncs++
			await(t, "the session's end is stable", func() bool {
				return p.scrape("/metrics")["vublk_export_fdatasyncs_total a"] > got["vublk_export_fdatasyncs_total a"]
			})
			a.guest = newLedger(t, "a", filepath.Join(dir, "a")).guest
			a.check(t, p.scrape("/metrics"))
		}
	}
	got := p.scrape("/metrics")
	if got["vublk_export_sessions_total a"] != 2 || got["vublk_export_sessions_total b"] != 1 || got["vublk_export_up b"] != 1 {
		t.Errorf("sessions: %v and %v", got["vublk_export_sessions_total a"], got["vublk_export_sessions_total b"])
	}
	sum := p.scrape("/metrics?queues=sum")
	for _, op := range []string{"read", "write", "flush", "discard", "write_zeroes", "other"} {
		if n := sum["vublk_requests_total a "+op+" all"]; n != float64(a.sum("requests", op)) {
			t.Errorf("all queues: %v %s, want %d", n, op, a.sum("requests", op))
		}
	}
	t.Logf("%d and %d requests, as they should be", a.sum("requests", ""), b.sum("requests", ""))
	prometheus.check(t, a, b)
}
