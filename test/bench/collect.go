package main

import (
	"context"
	"os/exec"
	"path/filepath"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
	"github.com/vublk/vublk/internal/insight"
	"github.com/vublk/vublk/test/scale"
)

// collecting is a contestant: a vublk of the build that package insight looks into, whose garbage is collected by order.
type collecting struct {
	*duel.Backend
	watch string // socket of package insight
	order string
}

func newCollecting(s *site, program, dir, label, order string) *collecting {
	b := duel.Vublk(program, dir, label, s.backendCPU, nothing(label))
	c := &collecting{Backend: b, watch: filepath.Join(dir, label+".watch"), order: order}
	b.Argv = append([]string{"env", insight.Variable + "=" + c.watch}, b.Argv...)
	return c
}

// Turn loads the socket while garbage is collected, or not.
func (c *collecting) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	before, err := insight.Number(c.watch, c.order)
	if err != nil {
		return bench.Result{}, err
	}
	r, err := c.Backend.Turn(ctx, load)
	if err != nil {
		return r, err
	}
	after, err := insight.Number(c.watch, never)
	if err == nil && c.order != never && after-before < uint64(load.Duration/scale.CollectEvery/2) {
		err = errors.Errorf("%d collections only in %v", after-before, load.Duration)
	}
	return r, err
}

const never = "collect 0"

// collections compares the tail of latencies with and without collections.
func collections(s *site) []*entry {
	var all []*entry
	poll, sleep := s.load(32), s.load(1)
	sleep.Wait = bench.Sleeping
	for _, load := range []bench.Config{poll, sleep} {
		name := map[bench.Wait]string{bench.Polling: "gc-poll-32", bench.Sleeping: "gc-sleep-1"}[load.Wait]
		dir := filepath.Join(s.disk, name)
		program := filepath.Join(dir, "vublk-insight")
		e := &entry{dirs: []string{dir}}
		e.Contest = duel.Contest{
			Name: name, Title: "Null store, garbage collected every " + scale.CollectEvery.String(), Load: load, Rounds: 30,
			Control: [2]string{vublk, again},
			Contestants: []duel.Contestant{
				newCollecting(s, program, dir, vublk, never),
				newCollecting(s, program, dir, "vublk-collecting", "collect "+scale.CollectEvery.String()),
				newCollecting(s, program, dir, again, never),
			},
			Comparisons: []duel.Comparison{{Metric: duel.P999, Of: "vublk-collecting", To: vublk, AtMost: 1.2}},
		}
		e.Prepare = func() error { return buildInsight(program) }
		e.Note = "The program is a build with -tags insight, which collects by order; vublk by itself has nothing to collect while it serves."
		all = append(all, e)
	}
	return all
}

// buildInsight builds vublk of the tree that this runs in.
func buildInsight(path string) error {
	out, err := exec.Command("go", "build", "-tags", "insight", "-o", path, "./cmd/vublk").CombinedOutput()
	if err != nil {
		return errors.Wrapf(err, "go build -tags insight: %s", out)
	}
	return nil
}
