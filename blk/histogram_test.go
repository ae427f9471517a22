package blk_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

// TestBuckets: they lie side by side, each begins where the one before ends, and none is wider than an eighth of that.
func TestBuckets(t *testing.T) {
	h := &blk.Histogram{}
	for i := 1; h.Bound(i-1) != math.MaxUint64; i++ {
		lo, hi := h.Bound(i-1), h.Bound(i)
		if hi <= lo || hi != math.MaxUint64 && hi-lo > max(lo/8, 1) {
			t.Fatalf("bucket %d is from %d to %d", i, lo, hi)
		}
		for _, v := range []uint64{lo + 1, lo + (hi-lo+1)/2, hi} {
			if got := blk.BucketOf(v); got != i {
				t.Fatalf("%d is in bucket %d, whose bound is %d; want %d", v, got, h.Bound(got), i)
			}
		}
	}
	for shift := range 63 {
		if v := uint64(1) << shift; h.Bound(blk.BucketOf(v)) != v {
			t.Errorf("%d is no bound", v)
		}
	}
	if blk.BucketOf(0) != 0 || h.Bound(0) != 1 {
		t.Error("0 and 1 have a bucket of their own")
	}
}

// TestQuantiles against the values themselves, also when they come in two halves that are added.
func TestQuantiles(t *testing.T) {
	var whole, sum blk.Histogram
	var values []uint64
	halves := make([]blk.Histogram, 2)
	for i := range 20000 {
		v := uint64(math.Exp(rand.Float64() * 40))
		if i == 0 {
			v = 0
		}
		n := 1 + rand.Uint64N(3)
		whole.Record(time.Duration(v), n)
		halves[i%2].Record(time.Duration(v), n)
		for range n {
			values = append(values, v)
		}
	}
	for _, half := range halves {
		sum.Add(half)
	}
	slices.Sort(values)
	total := uint64(0)
	for _, v := range values {
		total += v
	}
	for name, h := range map[string]*blk.Histogram{"whole": &whole, "sum": &sum} {
		if h.Count() != uint64(len(values)) || h.Sum != total {
			t.Errorf("%s: %d values with the sum %d, want %d and %d", name, h.Count(), h.Sum, len(values), total)
		}
		for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.9999, 1} {
			exact := values[max(int(math.Ceil(q*float64(len(values)))), 1)-1]
			got := uint64(h.Quantile(q))
			if got != h.Bound(blk.BucketOf(exact)) || got < exact || float64(got) > max(1, float64(exact)*1.125) {
				t.Errorf("%s: quantile %v is %d, exactly %d", name, q, got, exact)
			}
		}
	}
	if q := (&blk.Histogram{}).Quantile(0.5); q != 0 {
		t.Errorf("the median of nothing is %v", q)
	}
}
