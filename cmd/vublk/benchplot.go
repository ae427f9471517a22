package main

import (
	"math"
	"strconv"

	"github.com/vublk/vublk/internal/plot"
)

// figure is the report as curves over the depth.
func (r *benchReport) figure() *plot.Figure {
	f := &plot.Figure{
		Title: "vublk bench: " + r.plan.String(), Subtitle: r.subject() + "; " + r.timing(), XLabel: "depth (requests in flight per queue, logarithmic)",
	}
	for _, depth := range r.plan.depths {
		f.X = append(f.X, float64(depth))
	}
	iops := plot.Panel{YLabel: "IOPS (requests per second)", Tick: count}
	tail := plot.Panel{YLabel: "p99 latency (logarithmic)", Log: true, Tick: roundDuration}
	for _, b := range r.Backends {
		f.Curves = append(f.Curves, b.Name)
		iops.Y = append(iops.Y, r.curve(b.Name, func(b *benchResult) float64 { return b.IOPS }))
		tail.Y = append(tail.Y, r.curve(b.Name, func(b *benchResult) float64 { return float64(b.P99) }))
	}
	f.Panels = []plot.Panel{iops, tail}
	return f
}

// curve is one figure of a back-end over the depths.
func (r *benchReport) curve(backend string, of func(*benchResult) float64) []float64 {
	var values []float64
	for _, depth := range r.plan.depths {
		v := math.NaN()
		for i := range r.Results {
			if b := &r.Results[i]; b.Backend == backend && b.Depth == depth {
				v = of(b)
			}
		}
		values = append(values, v)
	}
	return values
}

// subject is the disk.
func (r *benchReport) subject() string {
	if r.plan.socket != "" {
		return r.plan.socket
	}
	return r.plan.store.String()
}

// roundDuration writes a tick of an axis in nanoseconds, which is a round number: 20 µs.
func roundDuration(ns float64) string {
	unit := "ns"
	for _, next := range []string{"µs", "ms", "s"} {
		if ns < 999.5 {
			break
		}
		ns, unit = ns/1e3, next
	}
	return strconv.FormatFloat(ns, 'g', 3, 64) + " " + unit
}
