package duel

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// fake is a contestant that notes what happens to it.
type fake struct {
	name                          string
	diary                         *[]string
	iops                          float64
	failStart, failTurn, failStop bool
}

func (f *fake) note(what string, fail bool) error {
	*f.diary = append(*f.diary, what+" "+f.name)
	if fail {
		return errors.New("oh no")
	}
	return nil
}

func (f *fake) Name() string                { return f.name }
func (f *fake) Command() string             { return "fake " + f.name }
func (f *fake) Start(context.Context) error { return f.note("start", f.failStart) }
func (f *fake) Stop() error                 { return f.note("stop", f.failStop) }

func (f *fake) Turn(_ context.Context, load bench.Config) (bench.Result, error) {
	return bench.Result{IOPS: f.iops, Requests: uint64(load.Depth)}, f.note("turn", f.failTurn)
}

func fakes(diary *[]string) (a, b, c *fake) {
	return &fake{name: "a", diary: diary, iops: 300}, &fake{name: "b", diary: diary, iops: 100}, &fake{name: "c", diary: diary, iops: 300}
}

func TestTurns(t *testing.T) {
	var diary, progress []string
	a, b, c := fakes(&diary)
	contest := Contest{
		Name: "x", Rounds: 3, Load: bench.Config{Depth: 7}, Contestants: []Contestant{a, b, c}, Control: [2]string{"a", "c"},
		Comparisons: []Comparison{{Metric: IOPS, Of: "a", To: "b", AtLeast: 2.5}, {Metric: IOPS, Of: "b", To: "a", AtLeast: 1}},
		Progress: func(done, all int) {
			progress = append(progress, strings.Repeat("#", done)+strings.Repeat(".", all-done))
		},
	}
	report, err := contest.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// Every second round goes backwards.
	const expected = "start a, start b, start c, turn a, turn b, turn c, turn c, turn b, turn a, turn a, turn b, turn c, stop c, stop b, stop a"
	if got := strings.Join(diary, ", "); got != expected {
		t.Errorf("what happened: %s", got)
	}
	if len(progress) != 9 || progress[3] != "####....." {
		t.Errorf("progress %q", progress)
	}
	for i, results := range report.Results {
		if len(results) != 3 || results[2].Requests != 7 {
			t.Errorf("contestant %d has %+v", i, results)
		}
	}
	ratios, err := report.Ratios()
	if err != nil || len(ratios) != 2 {
		t.Fatal(ratios, err)
	}
	if r := ratios[0]; r.Value != 3 || r.Control != 1 || r.Spread != 0 || r.Low != 3 || r.High != 3 || !r.Held() || !r.Limited() {
		t.Errorf("%+v", r)
	}
	if ratios[1].Held() {
		t.Error("a third is held to be 1 at least")
	}
	if m := report.Median(IOPS, "b"); m != 100 || report.Median(IOPS, "nobody") != 0 {
		t.Errorf("median %v", m)
	}
}

func TestContestThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Contest, *fake)
		err   []string
		diary string
	}{
		"start":           {func(_ *Contest, b *fake) { b.failStart = true }, []string{"start b", "oh no"}, "start a, start b, stop b, stop a"},
		"turn":            {func(_ *Contest, b *fake) { b.failTurn = true }, []string{"contest x", "round 1 of b"}, "start a, start b, start c, turn a, turn b, stop c, stop b, stop a"},
		"stop":            {func(_ *Contest, b *fake) { b.failStop = true }, []string{"stop b", "oh no"}, "start a, start b, start c, turn a, turn b, turn c, stop c, stop b, stop a"},
		"no rounds":       {func(c *Contest, _ *fake) { c.Rounds = 0 }, []string{"0 rounds of 3"}, ""},
		"the same name":   {func(_ *Contest, b *fake) { b.name = "a" }, []string{"two contestants are called a"}, ""},
		"nobody compared": {func(c *Contest, _ *fake) { c.Comparisons = []Comparison{{Of: "a", To: "z"}} }, []string{`called "z"`}, ""},
		"no control":      {func(c *Contest, _ *fake) { c.Control = [2]string{"a", ""} }, []string{`called ""`}, ""},
		"limit without control": {func(c *Contest, _ *fake) {
			c.Control, c.Comparisons = [2]string{}, []Comparison{{Of: "a", To: "b", AtMost: 1}}
		}, []string{"limits without a control"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var diary []string
			a, b, c := fakes(&diary)
			contest := Contest{Name: "x", Rounds: 1, Contestants: []Contestant{a, b, c}, Control: [2]string{"a", "c"}}
			test.spoil(&contest, b)
			report, err := contest.Run(context.Background())
			want(t, err, test.err...)
			if got := strings.Join(diary, ", "); got != test.diary || report != nil {
				t.Errorf("what happened: %s, %v", got, report)
			}
		})
	}
}

func TestRatioOfNothing(t *testing.T) {
	var diary []string
	a, b, c := fakes(&diary)
	contest := Contest{Rounds: 1, Contestants: []Contestant{a, b, c}, Comparisons: []Comparison{{Metric: P999, Of: "a", To: "b"}}}
	report, err := contest.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, err = report.Ratios()
	want(t, err, "p99.9 latency of a was not measured in round 1")
	r, err := report.Compare(Comparison{Metric: IOPS, Of: "a", To: "b"})
	if err != nil || r.Value != 3 || r.Control != 1 || r.Limited() || !r.Held() {
		t.Errorf("%+v, %v", r, err)
	}
}

// serving is a real process as a contestant.
func serving(t *testing.T, dir, label string) *Backend {
	t.Helper()
	socket := filepath.Join(dir, label)
	return &Backend{Label: label, Argv: program(t, "serve", socket), Socket: socket, CPU: -1, Log: filepath.Join(dir, label+".log")}
}

func TestBackends(t *testing.T) {
	dir := t.TempDir()
	a, b := serving(t, dir, "a"), serving(t, dir, "b")
	b.Before = &bench.Config{Depth: 2, Duration: time.Millisecond}
	b.Adjust = func(c *bench.Config) { c.Mix.Sequential, c.Depth = true, 8 }
	contest := Contest{
		Name: "real", Rounds: 2, Load: bench.Config{Depth: 4, Duration: 200 * time.Millisecond},
		Contestants: []Contestant{a, b, &Ceiling{Label: "driver", CPU: -1}}, Control: [2]string{"a", "b"},
		Comparisons: []Comparison{{Metric: CPUPerRequest, Of: "a", To: "b"}, {Metric: IOPS, Of: "driver", To: "a"}},
	}
	report, err := contest.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := report.Ratios(); err != nil {
		t.Error(err)
	}
	for i, results := range report.Results {
		for _, r := range results {
			if r.Requests == 0 || (i < 2) != (r.BackendCPU > 0) {
				t.Errorf("%s: %+v", contest.Contestants[i].Name(), r)
			}
		}
	}
	if a.process.Running() || b.process.Running() {
		t.Error("they have not ended")
	}
}

// TestBefore: what comes before the first turn is done, and fails aloud.
func TestBefore(t *testing.T) {
	b := serving(t, t.TempDir(), "b")
	b.Before = &bench.Config{Mix: bench.Mix{WritePercent: 100}}
	contest := Contest{Name: "real", Rounds: 1, Load: bench.Config{Duration: time.Millisecond}, Contestants: []Contestant{b}}
	_, err := contest.Run(context.Background())
	want(t, err, "start b", "read-only")
}

// TestBackendThatFails: the error has what one needs to look into it.
func TestBackendThatFails(t *testing.T) {
	b := serving(t, t.TempDir(), "b")
	contest := Contest{Name: "real", Rounds: 1, Load: bench.Config{Mix: bench.Mix{WritePercent: 100}}, Contestants: []Contestant{b}}
	_, err := contest.Run(context.Background())
	want(t, err, "contest real: round 1 of b", "read-only", "I am serve", shell(b.Argv))
}

func TestContestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	contest := Contest{Rounds: 9, Load: bench.Config{Duration: time.Hour}, Contestants: []Contestant{serving(t, t.TempDir(), "b")}}
	if _, err := contest.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	file := Store{File: "/d/x,y.raw", Size: 5}
	for _, c := range []struct {
		contestant Contestant
		want       string
	}{
		{Vublk("vublk", "/t", "a", 0, Store{Size: 5}), "taskset -c 0 vublk serve --socket-path=/t/a.sock --workers=1 --store=null:5"},
		{Vublk("vublk", "/t", "a", -1, Store{Size: 5, Memory: true}, "--x"), "vublk serve --socket-path=/t/a.sock --workers=1 --store=mem:5 --x"},
		{Vublk("vublk", "/t", "a", 1, file), "taskset -c 1 vublk serve --socket-path=/t/a.sock --workers=1 --blk-file=/d/x,y.raw"},
		{
			Peer("qsd", "/t", "q", 0, Store{Size: 5}), "taskset -c 0 qsd --blockdev driver=null-co,node-name=n,size=5 " +
				"--export type=vhost-user-blk,id=e,addr.type=unix,addr.path=/t/q.sock,node-name=n,writable=on",
		},
		{
			Peer("qsd", "/t,u", "q", -1, Store{File: "/d/x,y.raw", ReadOnly: true}), "qsd --blockdev " +
				"driver=file,node-name=n,aio=io_uring,cache.direct=on,filename=/d/x,,y.raw,read-only=on " +
				"--export type=vhost-user-blk,id=e,addr.type=unix,addr.path=/t,,u/q.sock,node-name=n,writable=off",
		},
		{
			Peer("qsd", "/t", "q", -1, Store{Size: 5, Memory: true}), "qsd --blockdev driver=null-co,node-name=n,read-zeroes=on,size=5 " +
				"--export type=vhost-user-blk,id=e,addr.type=unix,addr.path=/t/q.sock,node-name=n,writable=on",
		},
	} {
		if got := c.contestant.Command(); got != c.want {
			t.Errorf("command line\n%s\nwant\n%s", got, c.want)
		}
	}
}
