package main

import (
	"slices"
	"time"

	"github.com/vublk/vublk/internal/bench"
)

// benchResult is of one back-end at one depth: medians over the rounds, but for LatencyMax.
type benchResult struct {
	Backend  string    `json:"backend"`
	Depth    int       `json:"depth"`
	Requests uint64    `json:"requests"` // of all rounds
	IOPS     float64   `json:"iops"`
	MBps     float64   `json:"throughput_mb_per_s"`
	Mean     int64     `json:"latency_mean_ns"`
	P50      int64     `json:"latency_p50_ns"`
	P90      int64     `json:"latency_p90_ns"`
	P99      int64     `json:"latency_p99_ns"`
	P999     int64     `json:"latency_p99_9_ns"`
	Max      int64     `json:"latency_max_ns"`
	CPU      *float64  `json:"cpu_per_io_ns"`             // nil: not measured
	Switches *float64  `json:"context_switches_per_1000"` // of the back-end; nil: not measured
	Kicks    float64   `json:"kicks_per_1000"`
	Sleeps   float64   `json:"driver_sleeps_per_1000"`
	Rounds   []float64 `json:"iops_of_rounds"`
}

func newBenchResult(name string, depth int, rounds []bench.Result) benchResult {
	middle := func(of func(*bench.Result) float64) float64 { return medianOf(rounds, of) }
	duration := func(of func(*bench.Latency) time.Duration) int64 {
		return int64(middle(func(r *bench.Result) float64 { return float64(of(&r.Latency)) }))
	}
	perThousand := func(of func(*bench.Result) uint64) float64 {
		return middle(func(r *bench.Result) float64 { return 1000 * float64(of(r)) / float64(max(r.Requests, 1)) })
	}
	b := benchResult{
		Backend: name, Depth: depth,
		IOPS:   middle(func(r *bench.Result) float64 { return r.IOPS }),
		MBps:   middle(func(r *bench.Result) float64 { return r.MBps }),
		Mean:   duration(func(l *bench.Latency) time.Duration { return l.Mean }),
		P50:    duration(func(l *bench.Latency) time.Duration { return l.P50 }),
		P90:    duration(func(l *bench.Latency) time.Duration { return l.P90 }),
		P99:    duration(func(l *bench.Latency) time.Duration { return l.P99 }),
		P999:   duration(func(l *bench.Latency) time.Duration { return l.P999 }),
		Kicks:  perThousand(func(r *bench.Result) uint64 { return r.Kicks }),
		Sleeps: perThousand(func(r *bench.Result) uint64 { return r.Sleeps }),
	}
	measured := true
	for i := range rounds {
		b.Requests += rounds[i].Requests
		b.Max = max(b.Max, int64(rounds[i].Latency.Max))
		b.Rounds = append(b.Rounds, rounds[i].IOPS)
		measured = measured && rounds[i].BackendPID > 0
	}
	if measured {
		cpu := middle(func(r *bench.Result) float64 { return float64(r.CPUPerRequest) })
		switches := middle(func(r *bench.Result) float64 { return 1000 * r.SwitchesPerRequest() })
		b.CPU, b.Switches = &cpu, &switches
	}
	return b
}

// medianOf returns the median of one figure of all rounds.
func medianOf(rounds []bench.Result, of func(*bench.Result) float64) float64 {
	var all []float64
	for i := range rounds {
		all = append(all, of(&rounds[i]))
	}
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		return 0
	}
	return (all[(n-1)/2] + all[n/2]) / 2
}
