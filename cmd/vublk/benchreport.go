package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/duel"
)

// benchFormat is the version of benchReport. It counts up when a name changes its meaning; new names do not count.
const benchFormat = 1

// benchReport is what the command shows; the names in JSON are stable and listed in docs/bench.md.
type benchReport struct {
	Format   int            `json:"format"`
	Version  string         `json:"version"`
	Kernel   string         `json:"kernel"`
	CPU      string         `json:"cpu"`
	CPUs     int            `json:"cpus"`
	Load     benchLoad      `json:"load"`
	Backends []benchBackend `json:"backends"`
	Results  []benchResult  `json:"results"`
	Ratios   []benchRatio   `json:"ratios"`
	Notes    []string       `json:"notes"`

	plan *benchPlan
}

// benchLoad is what was done.
type benchLoad struct {
	RW           string  `json:"rw"`
	WritePercent int     `json:"write_percent"`
	FlushPercent int     `json:"flush_percent"`
	BlockSize    uint32  `json:"block_size_bytes"`
	Span         uint64  `json:"span_bytes"` // 0: the whole disk
	Queues       int     `json:"queues"`
	Driver       string  `json:"driver"`
	Batch        int     `json:"batch"`
	Packed       bool    `json:"packed"`
	Indirect     bool    `json:"indirect"`
	EventIdx     bool    `json:"event_idx"`
	Warmup       float64 `json:"warmup_seconds"`
	Runtime      float64 `json:"runtime_seconds"`
	Rounds       int     `json:"rounds"`
	DriverCPUs   []int   `json:"driver_cpus"`  // empty: any
	BackendCPUs  []int   `json:"backend_cpus"` // empty: any
	Seed         uint64  `json:"seed"`
}

// benchBackend is who was measured.
type benchBackend struct {
	Name    string `json:"name"`
	Command string `json:"command"`
}

// benchRatio compares vublk with its peer at one depth.
type benchRatio struct {
	Depth   int     `json:"depth"`
	Metric  string  `json:"metric"`
	Of      string  `json:"of"`
	To      string  `json:"to"`
	Ratio   float64 `json:"ratio"`
	Low     float64 `json:"ratio_quartile_low"`
	High    float64 `json:"ratio_quartile_high"`
	Control float64 `json:"control_ratio"`
	Spread  float64 `json:"control_spread"`
}

// benchMetrics are compared. The keys are stable.
var benchMetrics = []struct {
	key    string
	metric duel.Metric
}{{"iops", duel.IOPS}, {"latency_mean", duel.MeanLatency}, {"latency_p99", duel.P99}, {"cpu_per_io", duel.CPUPerRequest}}

func newBenchReport(p *benchPlan) *benchReport {
	l := &p.load
	r := &benchReport{
		Format: benchFormat, Version: cli.Version(version), Kernel: kernelRelease(), CPU: cpuModel(), CPUs: runtime.NumCPU(),
		Load: benchLoad{
			RW: p.word, WritePercent: l.Mix.WritePercent, FlushPercent: l.Mix.FlushPercent, BlockSize: l.BlockSize, Span: l.Span,
			Queues: l.Queues, Driver: p.driver(), Batch: l.Batch, Packed: l.Packed, Indirect: l.Indirect, EventIdx: !l.NoEventIdx,
			Warmup: l.Warmup.Seconds(), Runtime: l.Duration.Seconds(), Rounds: p.rounds,
			DriverCPUs: notNil(l.CPUs), BackendCPUs: notNil(p.backendCPUs), Seed: l.Seed,
		},
		// Not null in JSON.
		Backends: []benchBackend{}, Results: []benchResult{}, Ratios: []benchRatio{}, Notes: []string{}, plan: p,
	}
	if shared := p.shared(); len(shared) > 0 {
		r.note("driver and back-end share CPU %s: the driver, which polls, takes its time from the back-end", joinInts(shared))
	}
	if p.compare && p.store.made.Kind == storeMem {
		r.note("%s has no store in memory: its null-co writes zeroes into what is read, and drops what is written", peerName)
	}
	return r
}

func notNil(list []int) []int { return append([]int{}, list...) }

func (r *benchReport) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// add takes what was measured at one depth.
func (r *benchReport) add(depth int, report *duel.Report) {
	first := len(r.Backends) == 0
	for i, c := range report.Contest.Contestants {
		if first {
			r.Backends = append(r.Backends, benchBackend{Name: c.Name(), Command: c.Command()})
		}
		r.Results = append(r.Results, newBenchResult(c.Name(), depth, report.Results[i]))
	}
	if !r.plan.compare {
		return
	}
	for _, m := range benchMetrics {
		v, err := report.Compare(duel.Comparison{Metric: m.metric, Of: vublkName, To: peerName})
		if err != nil { // a run was too short to show anything
			r.note("depth %d: no ratio: %v; take a longer --runtime", depth, err)
			continue
		}
		r.Ratios = append(r.Ratios, benchRatio{
			Depth: depth, Metric: m.key, Of: v.Of, To: v.To, Ratio: v.Value, Low: v.Low, High: v.High, Control: v.Control, Spread: v.Spread,
		})
	}
}

// finish looks at the whole.
func (r *benchReport) finish() {
	const enough = 1.5 // times a back-end's IOPS, for the driver not to matter
	for _, backend := range r.Backends {
		var depths []int
		for _, own := range r.Results {
			if own.Backend == backend.Name && own.IOPS*enough > r.ceilingAt(own.Depth) {
				depths = append(depths, own.Depth)
			}
		}
		if len(depths) > 0 && r.plan.ceiling && backend.Name != ceilingName && backend.Name != controlName {
			r.note("%s is near what the driver itself can do at depth %s; its figures there are lower bounds", backend.Name, joinInts(depths))
		}
	}
}

// ceilingAt is what the driver itself could do at a depth, in IOPS.
func (r *benchReport) ceilingAt(depth int) float64 {
	for _, c := range r.Results {
		if c.Backend == ceilingName && c.Depth == depth {
			return c.IOPS
		}
	}
	return 0
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// cpuModel is the name of the first CPU; arm64's /proc/cpuinfo has none.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(rest, "\t\n: ")
		}
	}
	return runtime.GOARCH
}
