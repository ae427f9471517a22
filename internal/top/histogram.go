package top

import (
	"math"
	"slices"
	"time"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// histogram counts latencies by the upper bounds of their buckets, in nanoseconds.
type histogram struct {
	counts map[uint64]uint64
	n, sum uint64
}

// add adds what h has and before has not.
func (t *histogram) add(h, before *vublkv1.Histogram) {
	if t.counts == nil {
		t.counts = map[uint64]uint64{}
	}
	for i, bound := range h.GetBoundsNs() {
		if i < len(h.GetCounts()) {
			t.counts[bound] += h.GetCounts()[i]
			t.n += h.GetCounts()[i]
		}
	}
	for i, bound := range before.GetBoundsNs() {
		if i < len(before.GetCounts()) {
			t.counts[bound] -= before.GetCounts()[i]
			t.n -= before.GetCounts()[i]
		}
	}
	t.sum += h.GetSumNs() - before.GetSumNs()
}

// Quantile is what the part q of a histogram's values, from 0 to 1, does not exceed: see blk.Histogram.Quantile, which reads
// its like in the process that counts. It is 0 where there are no values.
func Quantile(h *vublkv1.Histogram, q float64) time.Duration {
	var all histogram
	all.add(h, nil)
	return all.quantile(q)
}

// quantile is Quantile of what was added.
func (t *histogram) quantile(q float64) time.Duration {
	bounds := make([]uint64, 0, len(t.counts))
	for bound := range t.counts {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	rank := max(uint64(math.Ceil(q*float64(t.n))), 1)
	for _, bound := range bounds {
		n := t.counts[bound]
		if n >= rank {
			return time.Duration(min(bound, math.MaxInt64))
		}
		rank -= n
	}
	return 0
}
