package duel

import (
	"math"
	"slices"
)

// quantile returns the value below which the share q of the values lies, interpolated between two of them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	low := int(at)
	high := min(low+1, len(v)-1)
	return v[low] + (at-float64(low))*(v[high]-v[low])
}

// median is the value in the middle.
func median(values []float64) float64 { return quantile(values, 0.5) }

// ratios returns a[i] / b[i].
func ratios(a, b []float64) []float64 {
	r := make([]float64, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return r
}

// medianError is the standard error of the median of n values of a normal distribution, in distances between its
// quartiles, times sqrt(n): sqrt(pi/2) / 1.349.
const medianError = 1.2533 / 1.349

// confidence is how many standard errors the scatter of the control counts.
const confidence = 2

// spread is how far from 1 a ratio may come by chance, by the rounds of a control: the package comment tells why so.
func spread(a, b []float64) float64 {
	off := math.Abs(math.Log(median(a) / median(b)))
	logs := ratios(a, b)
	for i := range logs {
		logs[i] = math.Log(logs[i])
	}
	quartiles := quantile(logs, 0.75) - quantile(logs, 0.25)
	chance := confidence * medianError * quartiles / math.Sqrt(float64(len(logs)))
	return math.Expm1(math.Max(off, chance))
}
