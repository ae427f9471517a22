package duel

import (
	"fmt"
	"time"

	"github.com/vublk/vublk/internal/bench"
)

// Metric is what is compared of results.
type Metric int

// The metrics. Of all but IOPS less is better.
const (
	IOPS Metric = iota
	MeanLatency
	P50
	P99
	P999
	// CPUPerRequest is the CPU time of the back-end, what it polls included. Fio and Ceiling have none.
	CPUPerRequest
	metrics
)

var metricNames = [metrics]string{
	IOPS: "IOPS", MeanLatency: "mean latency", P50: "p50 latency", P99: "p99 latency", P999: "p99.9 latency", CPUPerRequest: "CPU per I/O",
}

// String is the metric's name.
func (m Metric) String() string { return metricNames[m] }

// MoreIsBetter tells which way is up.
func (m Metric) MoreIsBetter() bool { return m == IOPS }

// Of returns the metric of a result: requests per second, or nanoseconds. 0: it was not measured.
func (m Metric) Of(r *bench.Result) float64 {
	switch m {
	case IOPS:
		return r.IOPS
	case MeanLatency:
		return float64(r.Latency.Mean)
	case P50:
		return float64(r.Latency.P50)
	case P99:
		return float64(r.Latency.P99)
	case P999:
		return float64(r.Latency.P999)
	case CPUPerRequest:
		return float64(r.CPUPerRequest)
	}
	return 0
}

// Format writes a value with its unit, for a table.
func (m Metric) Format(v float64) string {
	switch d := time.Duration(v); {
	case v == 0:
		return "-"
	case m == IOPS && v >= 10_000:
		return fmt.Sprintf("%.0f k", v/1000)
	case m == IOPS:
		return fmt.Sprintf("%.2f k", v/1000)
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", v/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f µs", v/1e3)
	}
	return fmt.Sprintf("%.2f ms", v/1e6)
}
