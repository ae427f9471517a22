package scale

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/insight"
)

// CollectEvery is how often garbage is collected where that is forced.
const CollectEvery = 100 * time.Millisecond

// Tail is what the garbage collector does to latencies.
type Tail struct {
	With, Without *hdrhistogram.Histogram // nanoseconds, of all rounds
	Collections   uint64
}

// MeasureTail runs c so often with a forced collection every CollectEvery and as often without, in turn. The back-end at
// c.Socket is a vublk built with -tags insight that listens for orders on the socket watch.
func MeasureTail(ctx context.Context, c bench.Config, watch string, rounds int) (Tail, error) {
	var t Tail
	first, err := insight.Number(watch, "collect 0")
	if err != nil {
		return t, err
	}
	for range rounds {
		for order, all := range map[string]**hdrhistogram.Histogram{
			"collect " + CollectEvery.String(): &t.With, "collect 0": &t.Without,
		} {
			if t.Collections, err = insight.Number(watch, order); err != nil {
				return t, err
			}
			r, err := bench.Run(ctx, c)
			if err != nil {
				return t, err
			}
			if *all == nil {
				*all = r.Histogram
			} else {
				(*all).Merge(r.Histogram)
			}
		}
	}
	last, err := insight.Number(watch, "collect 0")
	t.Collections = last - first
	return t, err
}

// Ratio is how many times the value of a percentile (99.9) without collections the one with is.
func (t *Tail) Ratio(percentile float64) float64 {
	return float64(t.With.ValueAtPercentile(percentile)) / float64(max(t.Without.ValueAtPercentile(percentile), 1))
}

// Objects is how many objects a back-end, of a build as in MeasureTail, allocates while n requests at least are served to
// one front-end: those of the session are among them, some hundreds.
func Objects(ctx context.Context, c bench.Config, watch string, n uint64) (objects, requests uint64, err error) {
	trial := c
	trial.Duration = 200 * time.Millisecond
	r, err := bench.Run(ctx, trial)
	if err != nil {
		return 0, 0, err
	}
	c.Duration = time.Duration(1.2 * float64(n) / r.IOPS * float64(time.Second))
	before, err := insight.Number(watch, "objects")
	if err != nil {
		return 0, 0, err
	}
	if r, err = bench.Run(ctx, c); err != nil {
		return 0, 0, err
	}
	after, err := insight.Number(watch, "objects")
	return after - before, r.Requests, err
}
