package metrics

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// runtimeMetrics are those of the Go runtime (package runtime/metrics) that say how much it gets into the way of I/O: how
// long goroutines wait for a thread, how long everything stands still, what the garbage collector costs.
var runtimeMetrics = regexp.MustCompile(`^(/sched/latencies:seconds|/sched/pauses/total/(gc|other):seconds|/sched/gomaxprocs:threads|/gc/cycles/total:gc-cycles|/gc/heap/live:bytes|/cpu/classes/gc/total:cpu-seconds|/cpu/classes/total:cpu-seconds|/memory/classes/total:bytes)$`)

// newRegistry makes what is gathered at a scrape.
func newRegistry(c *collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		c,
		collectors.NewGoCollector(
			collectors.WithGoCollectorMemStatsMetricsDisabled(),
			collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: runtimeMetrics}),
		),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}
