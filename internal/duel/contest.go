package duel

import (
	"context"
	"slices"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// Contestant takes turns. All calls come from one goroutine.
type Contestant interface {
	// Name is unique within a contest.
	Name() string
	// Command is what to type in a shell to have the same, or what it is when it is no program.
	Command() string
	Start(ctx context.Context) error
	// Turn does one run.
	Turn(ctx context.Context, load bench.Config) (bench.Result, error)
	// Stop is called once after a Start, also one that failed.
	Stop() error
}

// Contest is some contestants under one load.
type Contest struct {
	Name        string       // short and stable: what is recorded under it is found again
	Title       string       // for people
	Load        bench.Config // of each turn; contestants fill the socket in
	Rounds      int
	Contestants []Contestant
	Control     [2]string // the names of two contestants that are the same program with the same options
	Comparisons []Comparison
	Probe       *Probe // nil: each round counts
	// Progress, if not nil, is called after each turn.
	Progress func(done, all int)
}

// Comparison is a ratio that is wanted, and what it must be.
type Comparison struct {
	Metric  Metric
	Of, To  string  // names of contestants
	AtLeast float64 // 0: no such limit
	AtMost  float64 // 0: no such limit
	// Within is how far from 1 the ratio may be, 0.03 for 3 %; twice the control's spread if that is more. 0: no such limit.
	Within float64
}

// Run holds the contest. The error names the contestant that failed, with its command line and what it logged.
func (c *Contest) Run(ctx context.Context) (r *Report, err error) {
	if err := c.check(); err != nil {
		return nil, errors.Wrapf(err, "contest %s", c.Name)
	}
	started := 0
	defer func() {
		for _, p := range slices.Backward(c.Contestants[:started]) {
			if e := p.Stop(); err == nil && e != nil {
				r, err = nil, errors.Wrapf(e, "contest %s: stop %s", c.Name, p.Name())
			}
		}
	}()
	for _, p := range c.Contestants {
		started++
		if err := p.Start(ctx); err != nil {
			return nil, errors.Wrapf(err, "contest %s: start %s", c.Name, p.Name())
		}
	}
	return c.hold(ctx)
}

// round is what a round brought.
type round struct {
	results []bench.Result // by contestant
	found   float64        // by the probe: the lesser of before and after
}

// hold holds rounds until enough of them count.
func (c *Contest) hold(ctx context.Context) (*Report, error) {
	var all, fair []round
	before, err := c.Probe.measure(ctx)
	if err != nil {
		return nil, errors.Wrapf(err, "contest %s", c.Name)
	}
	for len(fair) < c.Rounds {
		if len(all) == patience*c.Rounds {
			return nil, errors.Wrapf(ErrDisturbed, "contest %s: %d of %d rounds count, %d are wanted", c.Name, len(fair), len(all), c.Rounds)
		}
		results, err := c.takeTurns(ctx, len(all), len(fair))
		if err != nil {
			return nil, err
		}
		after, err := c.Probe.measure(ctx)
		if err != nil {
			return nil, errors.Wrapf(err, "contest %s", c.Name)
		}
		all = append(all, round{results: results, found: min(before, after)})
		before = after
		fair = slices.DeleteFunc(slices.Clone(all), func(r round) bool { return !c.Probe.fair(r.found) }) // the best may be news
	}
	r := &Report{Contest: c, Results: make([][]bench.Result, len(c.Contestants)), Dropped: len(all) - len(fair)}
	for _, one := range fair {
		for i, result := range one.results {
			r.Results[i] = append(r.Results[i], result)
		}
	}
	return r, nil
}

// takeTurns is one round.
func (c *Contest) takeTurns(ctx context.Context, number, fair int) ([]bench.Result, error) {
	results := make([]bench.Result, len(c.Contestants))
	for n, i := range c.order(number) {
		p := c.Contestants[i]
		var err error
		if results[i], err = p.Turn(ctx, c.Load); err != nil {
			return nil, errors.Wrapf(err, "contest %s: round %d of %s", c.Name, number+1, p.Name())
		}
		if c.Progress != nil {
			c.Progress(fair*len(c.Contestants)+n+1, c.Rounds*len(c.Contestants))
		}
	}
	return results, nil
}

// order is in which order the contestants have their turns in a round.
func (c *Contest) order(round int) []int {
	order := make([]int, len(c.Contestants))
	for i := range order {
		order[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

func (c *Contest) check() error {
	if c.Rounds < 1 || len(c.Contestants) == 0 {
		return errors.Errorf("%d rounds of %d contestants: want one at least", c.Rounds, len(c.Contestants))
	}
	known := map[string]bool{}
	for _, p := range c.Contestants {
		if known[p.Name()] {
			return errors.Errorf("two contestants are called %s", p.Name())
		}
		known[p.Name()] = true
	}
	names := []string{}
	if c.Control != ([2]string{}) {
		names = append(names, c.Control[:]...)
	}
	for _, k := range c.Comparisons {
		names = append(names, k.Of, k.To)
		if k.Limited() && c.Control == ([2]string{}) {
			return errors.New("limits without a control")
		}
	}
	for _, name := range names {
		if !known[name] {
			return errors.Errorf("no contestant is called %q", name)
		}
	}
	return nil
}
