package duel

import (
	"context"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// moody is a machine whose probe finds what is said, one after the other, and then the last for ever.
func moody(found ...float64) *Probe {
	return &Probe{look: func(context.Context) (float64, error) {
		now := found[0]
		if len(found) > 1 {
			found = found[1:]
		}
		return now, nil
	}}
}

// counting is a contestant whose rounds can be told apart.
type counting struct {
	fake
	turns float64
}

func (c *counting) Turn(context.Context, bench.Config) (bench.Result, error) {
	c.turns++
	return bench.Result{IOPS: c.turns}, nil
}

func hold(p *Probe, rounds int) (*Report, error) {
	var diary []string
	c := &counting{fake: fake{name: "a", diary: &diary}}
	contest := Contest{Name: "x", Rounds: rounds, Contestants: []Contestant{c}, Probe: p}
	return contest.Run(context.Background())
}

func TestProbeDropsRounds(t *testing.T) {
	for name, c := range map[string]struct {
		found   []float64 // before the first round, and after each
		counted []float64 // rounds
	}{
		"quiet":                       {[]float64{10, 10, 9, 10}, []float64{1, 2, 3}},
		"apart in the middle":         {[]float64{10, 10, 4, 10, 10, 10}, []float64{1, 4, 5}},
		"apart at first":              {[]float64{3, 3, 3, 10, 10, 10, 10}, []float64{4, 5, 6}},
		"apart always is not to know": {[]float64{3}, []float64{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := hold(moody(c.found...), 3)
			if err != nil {
				t.Fatal(err)
			}
			rounds, err := r.Rounds(IOPS, "a")
			if err != nil || len(rounds) != len(c.counted) {
				t.Fatal(rounds, err)
			}
			for i, want := range c.counted {
				if rounds[i] != want {
					t.Fatalf("rounds %v count, want %v", rounds, c.counted)
				}
			}
			if want := int(c.counted[2]) - 3; r.Dropped != want {
				t.Errorf("%d rounds dropped, want %d", r.Dropped, want)
			}
		})
	}
}

func TestProbeGivesUp(t *testing.T) {
	if r, err := hold(moody(10, 3), 2); !errors.Is(err, ErrDisturbed) {
		t.Errorf("report %+v, error %v", r, err)
	}
}

// TestProbeIsShared: what another contest has found is not forgotten.
func TestProbeIsShared(t *testing.T) {
	p := moody(10, 10, 10, 3)
	if _, err := hold(p, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := hold(p, 2); !errors.Is(err, ErrDisturbed) {
		t.Errorf("error %v", err)
	}
}

func TestProbeMeasures(t *testing.T) {
	p := &Probe{BackendCPU: -1, DriverCPU: -1}
	if found, err := p.measure(context.Background()); err != nil || found <= 0 || p.best != found {
		t.Errorf("found %v, error %v", found, err)
	}
}
