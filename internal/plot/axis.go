package plot

import (
	"math"
	"slices"
)

// axis maps values to a stretch of pixels.
type axis struct {
	scale  func(float64) float64 // linear or a logarithm
	lo, hi float64               // scaled values at the ends
	from   float64               // pixel of lo
	to     float64               // pixel of hi
	ticks  []float64             // values
}

func (a *axis) at(v float64) float64 {
	return a.from + (a.scale(v)-a.lo)/(a.hi-a.lo)*(a.to-a.from)
}

// drawable tells whether v has a place on the axis.
func (a *axis) drawable(v float64) bool {
	s := a.scale(v)
	return !math.IsNaN(s) && !math.IsInf(s, 0)
}

// newXAxis is of powers of two, with a tick at each value.
func newXAxis(x []float64) axis {
	ticks := slices.Compact(slices.Sorted(slices.Values(x)))
	a := axis{scale: math.Log2, ticks: ticks, lo: math.Log2(ticks[0]), hi: math.Log2(ticks[len(ticks)-1])}
	if a.lo == a.hi {
		a.lo, a.hi = a.lo-1, a.hi+1
	}
	return a
}

// linear begins at 0 and ends at a round number.
func linear(values []float64) axis {
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	if top == 0 {
		top = 1
	}
	const intervals = 5
	step := roundUp(top / intervals)
	a := axis{scale: func(v float64) float64 { return v }}
	for n := 0.0; ; n++ {
		a.ticks = append(a.ticks, n*step)
		if n*step >= top {
			a.hi = n * step
			return a
		}
	}
}

// roundUp returns the next of 1, 2, 5, 10, … that is not below v.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*unit*(1+1e-9) {
			return m * unit
		}
	}
	return 10 * unit
}

// maxLogTicks is up to how many ticks a decade has those at 2 and 5.
const maxLogTicks = 9

// logarithmic begins and ends at 1, 2 or 5 times a power of ten.
func logarithmic(values []float64) axis {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		lo, hi = min(lo, v), max(hi, v)
	}
	if !(lo > 0) || math.IsInf(hi, 0) { // nothing to draw
		lo, hi = 1, 10
	}
	ticks := logTicks(lo, hi, 1, 2, 5)
	if len(ticks) > maxLogTicks {
		ticks = logTicks(lo, hi, 1)
	}
	return axis{scale: math.Log10, lo: math.Log10(ticks[0]), hi: math.Log10(ticks[len(ticks)-1]), ticks: ticks}
}

// logTicks lists the products of steps and powers of ten from the last that is not above lo to the first that is above
// hi, so that there are two at least.
func logTicks(lo, hi float64, steps ...float64) []float64 {
	var ticks []float64
	for e := math.Floor(math.Log10(lo)); ; e++ {
		for _, s := range steps {
			v := s * math.Pow(10, e)
			if v <= lo {
				ticks = ticks[:0]
			}
			ticks = append(ticks, v)
			if v > hi {
				return ticks
			}
		}
	}
}
