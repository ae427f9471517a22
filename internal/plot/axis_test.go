package plot

import (
	"math"
	"slices"
	"testing"
)

func TestLinear(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   []float64
	}{
		{[]float64{3, 9.5}, []float64{0, 2, 4, 6, 8, 10}},
		{[]float64{10}, []float64{0, 2, 4, 6, 8, 10}},
		{[]float64{1.3e6, 2e5}, []float64{0, 5e5, 1e6, 1.5e6}},
		{[]float64{0}, []float64{0, .2, .4, .6, .8, 1}},
		{nil, []float64{0, .2, .4, .6, .8, 1}},
	} {
		a := linear(c.values)
		if !near(a.ticks, c.want) || a.lo != 0 || a.hi != a.ticks[len(a.ticks)-1] {
			t.Errorf("%v: ticks %v from %v to %v, want %v", c.values, a.ticks, a.lo, a.hi, c.want)
		}
	}
}

func TestLogarithmic(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   []float64
	}{
		{[]float64{12, 400}, []float64{10, 20, 50, 100, 200, 500}},
		{[]float64{10}, []float64{10, 20}},
		{[]float64{7}, []float64{5, 10}},
		{[]float64{99.5, 100}, []float64{50, 100, 200}},
		{[]float64{1.5, 15e3}, []float64{1, 10, 100, 1000, 1e4, 1e5}},
		{nil, []float64{1, 2, 5, 10, 20}},
	} {
		if a := logarithmic(c.values); !near(a.ticks, c.want) {
			t.Errorf("%v: ticks %v, want %v", c.values, a.ticks, c.want)
		}
	}
}

func near(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) <= 1e-9*math.Abs(y) })
}

func TestXAxisDoublesInEqualSteps(t *testing.T) {
	a := newXAxis([]float64{8, 1, 2, 2, 4})
	a.from, a.to = 100, 400
	for v, want := range map[float64]float64{1: 100, 2: 200, 4: 300, 8: 400} {
		if got := a.at(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v at %v, want %v", v, got, want)
		}
	}
	if !slices.Equal(a.ticks, []float64{1, 2, 4, 8}) {
		t.Errorf("ticks %v", a.ticks)
	}
	if a = newXAxis([]float64{32}); a.lo != 4 || a.hi != 6 {
		t.Errorf("one value: from %v to %v", a.lo, a.hi)
	}
}
