package durability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"text/tabwriter"

	"github.com/vublk/vublk/blk"
)

// matrix is every shape of a device in a mode.
func matrix(m mode) []config {
	var list []config
	for _, packed := range []bool{false, true} {
		for _, shape := range [][2]int{{1, 1}, {1, 3}, {4, 1}, {4, 3}} {
			list = append(list, config{packed: packed, queues: shape[0], workers: shape[1], mode: m, requests: 120})
		}
	}
	return list
}

// corners is the smallest and the largest shape; long, all of them.
func corners(m mode) []config {
	list := matrix(m)
	if *long {
		return list
	}
	return []config{list[0], list[len(list)-1]}
}

// seeds returns those of n runs.
func seeds(n int) []uint64 {
	if *seed != 0 {
		return []uint64{*seed}
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = rand.Uint64()
	}
	return list
}

func scale(short, lengthy int) int {
	if *long {
		return lengthy
	}
	return short
}

// table prints a line for each configuration.
type table struct{ *tabwriter.Writer }

func newTable(t *testing.T) table {
	w := table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	w.line("configuration", "runs", "cut points", "subsets", "losses", "wrong answers", "seed")
	t.Cleanup(func() {
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w table) line(cells ...any) {
	for _, c := range cells {
		_, _ = fmt.Fprintf(w, "%v\t", c)
	}
	_, _ = fmt.Fprintln(w)
}

// prove runs c with each seed, and demands that nothing is lost.
func prove(t *testing.T, w table, name string, list []config) (all verdict) {
	t.Helper()
	bad := list[0].seed
	for _, c := range list {
		v, _, err := execute(c)
		if err != nil {
			t.Error(err)
			return all
		}
		all.add(v)
		if v.losses+v.wrong > 0 {
			bad = c.seed
			t.Errorf("%v, seed %#x, fault %+v: %d losses, %d wrong answers: %q", c, c.seed, c.fault, v.losses, v.wrong, v.notes)
		}
	}
	w.line(name, len(list), all.cuts, all.subsets, all.losses, all.wrong, fmt.Sprintf("%#x", bad))
	return all
}

// TestCut is I1, I2, I3 and I5: random requests, and a cut before each call that the Disk began or ended.
func TestCut(t *testing.T) {
	w := newTable(t)
	var all verdict
	for _, m := range []mode{writeBack, writeThrough, flushRefused, configWCE} {
		for _, c := range matrix(m) {
			var list []config
			for _, c.seed = range seeds(scale(1, 8)) {
				list = append(list, c)
			}
			all.add(prove(t, w, c.String(), list))
		}
	}
	w.line("all", "", all.cuts, all.subsets, all.losses, all.wrong, "")
	if *seed == 0 && all.cuts < scale(5_000, 10_000) {
		t.Errorf("only %d cut points", all.cuts)
	}
}

// TestUnsafeLoses: what --cache=unsafe warns of is true, and is seen.
func TestUnsafeLoses(t *testing.T) {
	for _, c := range corners(unsafeCache) {
		demandLosses(t, c)
	}
}

// demandLosses runs c until something is lost.
func demandLosses(t *testing.T, c config) {
	t.Helper()
	for _, c.seed = range seeds(8) {
		v, _, err := execute(c)
		if err != nil {
			t.Fatal(err)
		}
		if v.losses > 0 {
			t.Logf("%v, seed %#x: %d losses; %s", c, c.seed, v.losses, v.notes[0])
			return
		}
	}
	t.Errorf("%v: no losses were found", c)
}

// TestFindsBrokenDisks: a flush that covers less than it says is found out.
func TestFindsBrokenDisks(t *testing.T) {
	for name, f := range map[string]flaw{"forgets one write": forgetsOne, "answers early": answersEarly, "forgets zeroes": forgetsZeroes} {
		for _, m := range []mode{writeBack, writeThrough, flushRefused, configWCE} {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				for _, c := range corners(m) {
					c.flaw = f
					demandLosses(t, c)
				}
			})
		}
	}
}

// TestFindsWriteBackForThrough: a device that is write-back where its driver counts on write-through is found out.
func TestFindsWriteBackForThrough(t *testing.T) {
	for _, c := range corners(mode{name: "write-back taken for write-through", cache: blk.CacheWriteback, through: true}) {
		demandLosses(t, c)
	}
}

// TestFindsShortWrites: a write that stores less than it says is found out.
func TestFindsShortWrites(t *testing.T) {
	for _, c := range corners(writeBack) {
		c.flaw, c.seed = shortWrites, seeds(1)[0]
		v, _, err := execute(c)
		if err != nil {
			t.Fatal(err)
		}
		if v.wrong == 0 {
			t.Errorf("%v, seed %#x: no wrong answers were found", c, c.seed)
		}
	}
}
