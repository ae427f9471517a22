package top

import (
	"slices"

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

// quantile returns the upper bound of the bucket that the q-th part of all values ends in, in nanoseconds; 0: there are no
// values.
func (t *histogram) quantile(q float64) uint64 {
	bounds := make([]uint64, 0, len(t.counts))
	for bound := range t.counts {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	left := uint64(q * float64(t.n))
	for _, bound := range bounds {
		n := t.counts[bound]
		if n > left {
			return bound
		}
		left -= n
	}
	return 0
}
