package main

import (
	"encoding/csv"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// sampleReport is a comparison at two depths with figures that can be recognised.
func sampleReport(t *testing.T) *benchReport {
	t.Helper()
	p, err := planOf("--store=null:1GiB", "--compare", "--ceiling", "--rounds=3", "--depth=1,32")
	if err != nil {
		t.Fatal(err)
	}
	contestants, err := p.contestants(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newBenchReport(p)
	for _, depth := range p.depths {
		c := &duel.Report{Contest: &duel.Contest{Contestants: contestants, Control: [2]string{vublkName, controlName}}}
		for _, speed := range []float64{300_000, 100_000, 300_000, 2e6} { // the last one is the ceiling
			var rounds []bench.Result
			for n := range 3 { // the median is the second
				v := speed * float64(depth) * float64(9+n) / 10
				latency := time.Duration(1e9 / speed)
				rounds = append(rounds, bench.Result{
					Requests: 1000, IOPS: v, MBps: v * 4096 / 1e6, Kicks: 2, Sleeps: 3, BackendPID: 1, CPUPerRequest: latency / 2,
					Latency: bench.Latency{
						Mean: latency, Min: latency, P50: latency, P90: 2 * latency, P99: 3 * latency, P999: 4 * latency,
						Max: time.Duration(n) * time.Millisecond,
					},
				})
			}
			c.Results = append(c.Results, rounds)
		}
		r.add(depth, c)
	}
	r.finish()
	return r
}

func TestBenchTable(t *testing.T) {
	var b strings.Builder
	if err := sampleReport(t).table(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	find := func(words ...string) string {
		for _, line := range lines {
			if strings.HasPrefix(strings.Join(strings.Fields(line), " "), strings.Join(words, " ")) {
				return line
			}
		}
		t.Errorf("no line %q in\n%s", words, b.String())
		return ""
	}
	find("randread of 4KiB, 1 queue (split), polling driver; medians of 3 rounds of 1s, each after 200ms of warm-up")
	head := find("depth IOPS MB/s mean p50 p90 p99 p99.9 max CPU/IO kicks/1000")
	row := find("vublk 1 300 k 1229 3.33 µs 3.33 µs 6.67 µs 10.0 µs 13.3 µs 2.00 ms 1.67 µs 2.0")
	find("qemu-storage-daemon 32 3200 k 13107 10.0 µs")
	find("driver's ceiling 1 2000 k")
	find("vublk / qemu-storage-daemon depth IOPS mean p99 CPU/IO")
	find("32 3.00 ±0% 0.33 ±0% 0.33 ±0% 0.33 ±0%")
	if len([]rune(head)) != len([]rune(row)) {
		t.Errorf("not aligned:\n%s\n%s", head, row)
	}
	if strings.Contains(b.String(), "Note") {
		t.Errorf("a note without a reason:\n%s", b.String())
	}
	for _, line := range lines {
		if line != strings.TrimRight(line, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

func TestBenchNotesALowCeiling(t *testing.T) {
	r := sampleReport(t)
	for i := range r.Results {
		if b := &r.Results[i]; b.Backend == ceilingName && b.Depth == 32 {
			b.IOPS = 1.4 * 300_000 * 32
		}
	}
	r.finish()
	const want = "vublk is near what the driver itself can do at depth 32; its figures there are lower bounds"
	if len(r.Notes) != 1 || r.Notes[0] != want {
		t.Errorf("%q", r.Notes)
	}
}

// A run in which nothing came back has no ratio, and the rest of the report is there.
func TestBenchNotesWhatHasNoRatio(t *testing.T) {
	r := sampleReport(t)
	contestants, err := r.plan.contestants(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	results := make([][]bench.Result, len(contestants))
	for i := range results {
		results[i] = make([]bench.Result, r.plan.rounds)
	}
	before := len(r.Ratios)
	r.add(64, &duel.Report{Contest: &duel.Contest{Contestants: contestants, Control: [2]string{vublkName, controlName}}, Results: results})
	if len(r.Ratios) != before || len(r.Notes) != len(benchMetrics) || !strings.Contains(r.Notes[0], "depth 64: no ratio: IOPS of vublk was not measured") {
		t.Errorf("%q", r.Notes)
	}
}

func TestBenchCSV(t *testing.T) {
	r := sampleReport(t)
	var b strings.Builder
	if err := r.csv(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+len(r.Results) {
		t.Fatalf("%d rows", len(rows))
	}
	known := strings.Join(append(jsonNames(reflect.TypeFor[benchResult]()), jsonNames(reflect.TypeFor[benchLoad]())...), " ")
	for i, name := range rows[0] {
		if !strings.Contains(" "+known+" ", " "+name+" ") {
			t.Errorf("%s is no name in JSON", name)
		}
		want := map[string]string{
			"backend": "vublk", "rw": "randread", "block_size_bytes": "4096", "queues": "1", "driver": "polling", "depth": "1", "requests": "3000",
			"iops": "300000.000", "latency_p99_ns": "9999", "latency_max_ns": "2000000", "cpu_per_io_ns": "1666.000", "kicks_per_1000": "2.000",
			"driver_sleeps_per_1000": "3.000",
		}[name]
		if want != "" && rows[1][i] != want {
			t.Errorf("%s is %s, want %s", name, rows[1][i], want)
		}
	}
}

// jsonNames lists the names of a struct in JSON, those of the structs in it too.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		names = append(names, f.Tag.Get("json"))
		of := f.Type
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct {
			names = append(names, jsonNames(of)...)
		}
	}
	return names
}

// Each name is documented: they are promised.
func TestBenchNamesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range jsonNames(reflect.TypeFor[benchReport]()) {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/bench.md does not name %s", name)
		}
	}
	for _, m := range benchMetrics {
		if !strings.Contains(string(text), "`"+m.key+"`") {
			t.Errorf("docs/bench.md does not name %s", m.key)
		}
	}
}

func TestBenchUnits(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0 ns", 999: "999 ns", 1000: "1.00 µs", 9994: "9.99 µs", 9996: "10.0 µs", 99_960: "100 µs", 999_600: "1.00 ms", 1_234_000_000: "1.23 s",
	} {
		if got := duration(ns); got != want {
			t.Errorf("%d ns: %q, want %q", ns, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1.0 k", 99_900: "99.9 k", 99_960: "100 k", 1_499_600: "1500 k"} {
		if got := count(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
	for ns, want := range map[float64]string{500: "500 ns", 1000: "1 µs", 20_000.0000001: "20 µs", 5e6: "5 ms", 1e9: "1 s"} {
		if got := roundDuration(ns); got != want {
			t.Errorf("%v ns: %q, want %q", ns, got, want)
		}
	}
}

// Of an error with a back-end's log the first line is ours to report; the rest are lines of their own.
func TestBenchKeepsLogsApart(t *testing.T) {
	var b strings.Builder
	err := logApart(&b, errors.Wrap(&duel.ProcessError{Command: "qsd --x", Log: "line 1\nline 2", Err: errors.New("it broke")}, "round 1"))
	if err.Error() != "round 1: it broke" || b.String() != "the command was: qsd --x\nits log ends with: line 1\nline 2\n" {
		t.Errorf("%q, %q", err, b.String())
	}
	b.Reset()
	if one := errors.New("one line"); !errors.Is(logApart(&b, one), one) || b.Len() > 0 {
		t.Errorf("%q", b.String())
	}
}
