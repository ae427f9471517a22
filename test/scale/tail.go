package scale

import (
	"context"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/insight"
)

// CollectEvery is how often garbage is collected where that is forced.
const CollectEvery = 100 * time.Millisecond

// Tail is what the garbage collector does to latencies. Again is the control: without collections, like Without.
type Tail struct {
	With, Without, Again []*hdrhistogram.Histogram // nanoseconds, of each round
	Collections          uint64
}

// MeasureTail runs c so often with a forced collection every CollectEvery and twice as often without, in turn. The back-end at
// c.Socket is a vublk built with -tags insight that listens for orders on the socket watch.
func MeasureTail(ctx context.Context, c bench.Config, watch string, rounds int) (Tail, error) {
	var t Tail
	first, err := insight.Number(watch, "collect 0")
	if err != nil {
		return t, err
	}
	turns := []struct {
		order string
		all   *[]*hdrhistogram.Histogram
	}{{"collect 0", &t.Without}, {"collect " + CollectEvery.String(), &t.With}, {"collect 0", &t.Again}}
	for i := range rounds * len(turns) {
		turn := turns[(i+i/len(turns))%len(turns)] // another one begins each round
		if _, err = insight.Number(watch, turn.order); err != nil {
			return t, err
		}
		r, err := bench.Run(ctx, c)
		if err != nil {
			return t, err
		}
		*turn.all = append(*turn.all, r.Histogram)
	}
	last, err := insight.Number(watch, "collect 0")
	t.Collections = last - first
	return t, err
}

// Ratio is how many times the value of a percentile (99.9) without collections, the larger of the two, the one with is: the
// median of the rounds, all of which collections would harm, and few of which the machine's other work.
func (t *Tail) Ratio(percentile float64) float64 {
	ratios := make([]float64, len(t.With))
	for i, with := range t.With {
		without := max(t.Without[i].ValueAtPercentile(percentile), t.Again[i].ValueAtPercentile(percentile), 1)
		ratios[i] = float64(with.ValueAtPercentile(percentile)) / float64(without)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// Objects is what a back-end allocates while it serves.
type Objects struct {
	Objects, Requests, Sessions uint64
}

// MeasureObjects counts the objects that a back-end, of a build as in MeasureTail, allocates while n requests at least are
// served: those of the sessions are among them, some hundreds each. A session is to be the last, by the pace of the one
// before, but no pace is to be relied on.
func MeasureObjects(ctx context.Context, c bench.Config, watch string, n uint64) (Objects, error) {
	const shortest, longest = 200 * time.Millisecond, 10 * time.Second
	var o Objects
	c.Duration = shortest
	r, err := bench.Run(ctx, c) // does not count
	if err != nil {
		return o, err
	}
	before, err := insight.Number(watch, "objects")
	if err != nil {
		return o, err
	}
	for ; o.Requests < n; o.Sessions++ {
		left := 1.2 * float64(n-o.Requests) / max(r.IOPS, 1)
		c.Duration = max(shortest, time.Duration(min(left, longest.Seconds())*float64(time.Second)))
		if r, err = bench.Run(ctx, c); err != nil {
			return o, err
		}
		o.Requests += r.Requests
	}
	after, err := insight.Number(watch, "objects")
	o.Objects = after - before
	return o, err
}
