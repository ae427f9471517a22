package duel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vublk/vublk/internal/bench"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9*math.Max(1, math.Abs(b)) }

func TestQuantile(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.75: 4, 1: 5, 0.125: 1.5} {
		if got := quantile(v, q); !near(got, want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if v[0] != 5 {
		t.Error("the caller's values have been sorted")
	}
	if m := median([]float64{1, 2, 3, 10}); m != 2.5 {
		t.Errorf("median %v of four", m)
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

func TestSpread(t *testing.T) {
	for name, c := range map[string]struct {
		a, b []float64
		want float64
	}{
		"no noise":          {[]float64{7, 7, 7}, []float64{7, 7, 7}, 0},
		"one is faster":     {[]float64{110, 110, 110, 110}, []float64{100, 100, 100, 100}, 0.1},
		"the other one":     {[]float64{100, 100, 100, 100}, []float64{110, 110, 110, 110}, 0.1},
		"one bad round":     {[]float64{100, 100, 100, 100, 5, 100, 100, 100, 100}, []float64{100, 100, 100, 100, 100, 100, 100, 100, 100}, 0},
		"drift of both":     {[]float64{100, 200, 300, 400}, []float64{100, 200, 300, 400}, 0},
		"scatter, no shift": {[]float64{90, 90, 100, 110, 110}, []float64{100, 100, 100, 100, 100}, math.Expm1(2 * medianError * math.Log(110./90) / math.Sqrt(5))},
	} {
		if got := spread(c.a, c.b); !near(got, c.want) {
			t.Errorf("%s: spread %v, want %v", name, got, c.want)
		}
	}
}

func TestHeld(t *testing.T) {
	for _, c := range []struct {
		least, most, value, spread float64
		want                       bool
	}{
		{2.5, 0, 2.5, 0, true},
		{2.5, 0, 2.499, 0, false},
		{2.5, 0, 2.7, 0.1, false}, // met, but not beyond the spread
		{2.5, 0, 2.76, 0.1, true},
		{0, 0.7, 0.7, 0, true},
		{0, 0.7, 0.701, 0, false},
		{0, 0.7, 0.65, 0.1, false},
		{0, 0.7, 0.63, 0.1, true},
		{0, 0, 0.001, 9, true},
		{1, 2, 3, 0, false},
	} {
		r := Ratio{Comparison: Comparison{AtLeast: c.least, AtMost: c.most}, Value: c.value, Spread: c.spread}
		if r.Held() != c.want {
			t.Errorf("%+v held: %v", c, r.Held())
		}
		inverse := Ratio{Value: 1 / c.value, Spread: c.spread}
		if c.least > 0 {
			inverse.AtMost = 1 / c.least
		}
		if c.most > 0 {
			inverse.AtLeast = 1 / c.most
		}
		if c.value != 2.5 && c.value != 0.7 && inverse.Held() != c.want { // not where rounding decides
			t.Errorf("%+v: its inverse is judged otherwise", c)
		}
	}
}

// TestHeldWithin has a ratio that must stay near 1: by 3 %, or by twice the spread.
func TestHeldWithin(t *testing.T) {
	for _, c := range []struct {
		value, spread float64
		want          bool
	}{
		{1, 0, true},
		{0.975, 0, true},
		{1.029, 0, true},
		{0.96, 0, false},
		{1.04, 0, false}, // a surprise, and none of these has been explained
		{0.96, 0.025, true},
		{0.94, 0.025, false},
		{0.975, 0.001, true},
	} {
		r := Ratio{Comparison: Comparison{Within: 0.03}, Value: c.value, Spread: c.spread}
		if r.Held() != c.want || !r.Limited() {
			t.Errorf("%+v held: %v, limited: %v", c, r.Held(), r.Limited())
		}
	}
}

// sitting makes a contest out of dice: scatter is the standard deviation of a round's logarithm, drift what the machine's
// speed changes by over the contest, hiccup how many rounds in a hundred have a tenth of the speed.
func sitting(random *rand.Rand, rounds int, ratio, scatter, drift, hiccup float64) *Report {
	c := &Contest{Rounds: rounds, Control: [2]string{"a", "c"}}
	var diary []string
	for _, name := range []string{"a", "b", "c"} {
		c.Contestants = append(c.Contestants, &fake{name: name, diary: &diary})
	}
	r := &Report{Contest: c, Results: make([][]bench.Result, 3)}
	turn := 0
	for round := range rounds {
		for _, i := range c.order(round) {
			v := math.Exp(random.NormFloat64()*scatter + drift*float64(turn)/float64(3*rounds))
			if turn++; random.Float64()*100 < hiccup {
				v /= 10
			}
			if i != 1 {
				v *= ratio
			}
			r.Results[i] = append(r.Results[i], bench.Result{IOPS: v})
		}
	}
	return r
}

// TestVerdicts throws the dice for many contests: a limit that is true by a hair is hardly ever called held, one that is
// true with some room is nearly always. A drift, which the ratios of rounds do not see and medians do, costs a little. Of
// 40,000 contests each, 0.059, 0.059, 0.031, 0.088 and 0.023 were held at the limit; the bounds leave five standard errors
// of 1,000.
func TestVerdicts(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	for _, c := range []struct {
		name                   string
		rounds                 int
		scatter, drift, hiccup float64
		room                   float64 // that is enough
		wrong                  float64 // share of contests that may be held too well of
	}{
		{"steady", 9, 0.02, 0, 0, 1.08, 0.1},
		{"noisy", 9, 0.1, 0, 0, 1.5, 0.1},
		{"noisy, many rounds", 31, 0.3, 0, 0, 1.8, 0.06},
		{"drifting", 9, 0.02, 0.3, 0, 1.2, 0.15},
		{"with hiccups", 31, 0.05, 0, 10, 1.2, 0.05},
	} {
		share := func(ratio float64) float64 {
			held := 0
			const contests = 1000
			for range contests {
				r, err := sitting(random, c.rounds, ratio, c.scatter, c.drift, c.hiccup).Compare(Comparison{Metric: IOPS, Of: "a", To: "b", AtLeast: 2.5})
				if err != nil {
					t.Fatal(err)
				}
				if r.Held() {
					held++
				}
			}
			return float64(held) / contests
		}
		below, above := share(2.5), share(2.5*c.room)
		t.Logf("%s: held in %.3f of the contests at the limit, in %.3f with %.0f %% of room", c.name, below, above, 100*c.room-100)
		if below > c.wrong {
			t.Errorf("%s: a limit that is just met is called held beyond the spread in %.3f of the contests", c.name, below)
		}
		if above < 0.9 {
			t.Errorf("%s: a limit met with room is called held in %.3f of the contests only", c.name, above)
		}
	}
}
