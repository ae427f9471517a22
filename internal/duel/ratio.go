package duel

import (
	"math"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// Report is what a contest showed.
type Report struct {
	Contest *Contest
	Results [][]bench.Result // [contestant][round], in the order of Contest.Contestants; rounds that count
	Dropped int              // rounds that do not, see Probe
}

// Ratio is a comparison made. The package comment tells what the numbers mean.
type Ratio struct {
	Comparison
	Value     float64 // ratio of the medians
	Low, High float64 // quartiles of the rounds' ratios
	Control   float64 // the control's ratio of the medians, 1 without a control
	Spread    float64 // of the control: 0.02 is 2 %
}

// Limited tells whether the ratio has a limit.
func (c *Comparison) Limited() bool { return c.AtLeast > 0 || c.AtMost > 0 || c.Within > 0 }

// Held tells whether the limits hold beyond the spread. Without limits it is true.
func (r *Ratio) Held() bool {
	if r.Within > 0 && math.Abs(math.Log(r.Value)) > math.Log1p(max(r.Within, 2*r.Spread)) {
		return false
	}
	return (r.AtLeast <= 0 || r.Value/(1+r.Spread) >= r.AtLeast) && (r.AtMost <= 0 || r.Value*(1+r.Spread) <= r.AtMost)
}

// Rounds returns a metric of all rounds of a contestant, in the order of the rounds.
func (r *Report) Rounds(m Metric, name string) ([]float64, error) {
	for i, p := range r.Contest.Contestants {
		if p.Name() != name {
			continue
		}
		values := make([]float64, len(r.Results[i]))
		for j := range values {
			values[j] = m.Of(&r.Results[i][j])
		}
		return values, nil
	}
	return nil, errors.Errorf("no contestant is called %q", name)
}

// Median returns the median of a metric over a contestant's rounds; 0 when there is no such contestant or it was not measured.
func (r *Report) Median(m Metric, name string) float64 {
	values, err := r.Rounds(m, name)
	if err != nil || len(values) == 0 {
		return 0
	}
	return median(values)
}

// Ratios makes all comparisons of the contest. The error tells what was not measured.
func (r *Report) Ratios() ([]Ratio, error) {
	var all []Ratio
	for _, c := range r.Contest.Comparisons {
		ratio, err := r.Compare(c)
		if err != nil {
			return nil, errors.Wrapf(err, "contest %s", r.Contest.Name)
		}
		all = append(all, ratio)
	}
	return all, nil
}

// Compare makes one comparison.
func (r *Report) Compare(c Comparison) (Ratio, error) {
	a, err := r.measured(c.Metric, c.Of)
	if err != nil {
		return Ratio{}, err
	}
	b, err := r.measured(c.Metric, c.To)
	if err != nil {
		return Ratio{}, err
	}
	each := ratios(a, b)
	ratio := Ratio{Comparison: c, Value: median(a) / median(b), Low: quantile(each, 0.25), High: quantile(each, 0.75), Control: 1}
	if r.Contest.Control == ([2]string{}) {
		return ratio, nil
	}
	if a, err = r.measured(c.Metric, r.Contest.Control[0]); err != nil {
		return Ratio{}, err
	}
	if b, err = r.measured(c.Metric, r.Contest.Control[1]); err != nil {
		return Ratio{}, err
	}
	ratio.Control, ratio.Spread = median(a)/median(b), spread(a, b)
	return ratio, nil
}

// measured is Rounds of what must have a value in each.
func (r *Report) measured(m Metric, name string) ([]float64, error) {
	values, err := r.Rounds(m, name)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, errors.Errorf("%s had no turn", name)
	}
	for i, v := range values {
		if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.Errorf("%s of %s was not measured in round %d", m, name, i+1)
		}
	}
	return values, nil
}
