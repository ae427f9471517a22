package blk

import (
	"math"
	"math/bits"
	"time"
)

// A bucket's width is at most one eighth of where it begins: 12.5 %.
const (
	subBits = 3
	subs    = 1 << subBits
)

// Histogram counts durations by size, in nanoseconds. Its buckets are as fine everywhere as they are small: up to 8 ns each
// value has its own, and from there on each doubling has eight of the same width. There is one for any duration, and memory
// only up to the longest that has come.
type Histogram struct {
	Sum    uint64   // of all values, nanoseconds
	Counts []uint64 // by bucket; those that are not there are empty
}

// bucketOf is where a value belongs: bounds are inclusive, so what is looked at is the value less one.
func bucketOf(v uint64) int {
	u := max(v, 1) - 1
	if u < subs {
		return int(u)
	}
	e := bits.Len64(u) - 1
	return subs + (e-subBits)*subs + int(u>>(e-subBits))&(subs-1)
}

// Bound is the largest value, in nanoseconds, that belongs into bucket i. Powers of two are bounds.
func (*Histogram) Bound(i int) uint64 {
	if i < subs {
		return uint64(i) + 1
	}
	shift, sub := (i-subs)/subs, (i-subs)%subs
	bound := uint64(subs+sub+1) << shift
	if bound>>shift != uint64(subs+sub+1) {
		return math.MaxUint64
	}
	return bound
}

// room is what the counts grow by: with one more allocation for some doublings of the longest duration, a histogram is
// done with them soon.
const room = 8 * subs

// record counts n values of d.
func (h *Histogram) record(d time.Duration, n uint64) {
	v := uint64(max(d, 0))
	h.Sum += v * n
	i := bucketOf(v)
	if i >= len(h.Counts) {
		h.grow(i)
	}
	h.Counts[i] += n
}

func (h *Histogram) grow(i int) {
	counts := make([]uint64, (i/room+1)*room)
	copy(counts, h.Counts)
	h.Counts = counts
}

// clone is a copy that shares nothing.
func (h *Histogram) clone() Histogram {
	return Histogram{Sum: h.Sum, Counts: append([]uint64(nil), h.Counts...)}
}

// Add adds the values of another histogram.
func (h *Histogram) Add(other Histogram) {
	h.Sum += other.Sum
	if n := len(other.Counts); n > len(h.Counts) {
		h.grow(n - 1)
	}
	for i, n := range other.Counts {
		h.Counts[i] += n
	}
}

// Count is how many values there are.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile is a duration that the part q of the values, from 0 to 1, does not exceed: the bound of the bucket in which the
// value is that has this rank, so 12.5 % more than that value at most. It is 0 where there are no values.
func (h *Histogram) Quantile(q float64) time.Duration {
	all := h.Count()
	if all == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(all))), 1), all)
	last := 0
	for i, c := range h.Counts {
		if c == 0 {
			continue
		}
		last = i
		if c >= rank {
			break
		}
		rank -= c
	}
	return time.Duration(min(h.Bound(last), math.MaxInt64))
}
