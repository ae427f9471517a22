package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// table is one in Markdown, aligned so that it can also be read as it is.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table and an empty line. Errors of w are its own: it is a buffer or a terminal.
func (t *table) write(w io.Writer) {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	line := func(cells []string, pad string) {
		for i, cell := range cells {
			_, _ = fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(pad, width[i]-utf8.RuneCountInString(cell)))
		}
		_, _ = fmt.Fprintln(w, "|")
	}
	line(t.head, " ")
	line(make([]string, len(t.head)), "-")
	for _, row := range t.rows {
		line(row, " ")
	}
	_, _ = fmt.Fprintln(w)
}

// write writes what the contest showed.
func (e *entry) write(w io.Writer, s *site) {
	_, _ = fmt.Fprintf(w, "### %s\n\n%s. %s\n\n", e.Name, e.Title, e.describe())
	if e.Note != "" {
		_, _ = fmt.Fprintf(w, "%s\n\n", e.Note)
	}
	if e.err != nil {
		_, _ = fmt.Fprintf(w, "Not measured:\n\n%s\n\n", indent(s.anonymous(e.err.Error())))
		return
	}
	t := table{head: []string{"median of rounds", "IOPS", "MB/s", "mean", "p50", "p99", "p99.9", "CPU per I/O", "kicks per 1000"}}
	for i, c := range e.Contestants {
		cells := []string{c.Name()}
		for _, m := range []duel.Metric{duel.IOPS, -1, duel.MeanLatency, duel.P50, duel.P99, duel.P999, duel.CPUPerRequest} {
			if m < 0 {
				cells = append(cells, fmt.Sprintf("%.0f", e.report.Median(duel.IOPS, c.Name())*float64(e.Load.BlockSize)/1e6))
				continue
			}
			cells = append(cells, m.Format(e.report.Median(m, c.Name())))
		}
		t.row(append(cells, kicks(c, e.report.Results[i]))...)
	}
	t.write(w)
	if n := e.report.Dropped; n > 0 {
		_, _ = fmt.Fprintf(w, "%d more rounds do not count: the host had the two CPUs far apart.\n\n", n)
	}
	e.writeRatios(w)
	for _, c := range e.Contestants {
		_, _ = fmt.Fprintf(w, "    %s\n", s.anonymous(c.Command()))
	}
	_, _ = fmt.Fprintln(w)
}

func (e *entry) writeRatios(w io.Writer) {
	t := table{head: ratioHead}
	for i := range e.ratios {
		t.row(e.ratios[i].cells()...)
	}
	t.write(w)
}

var ratioHead = []string{"ratio", "of medians", "quartiles of rounds", "A/A", "spread", "limit", "held", "recorded"}

func (r *ratio) cells() []string {
	limit, held, recorded := "none", "-", "-"
	switch {
	case r.AtLeast > 0:
		limit = fmt.Sprintf("≥ %.2f", r.AtLeast)
	case r.AtMost > 0:
		limit = fmt.Sprintf("≤ %.2f", r.AtMost)
	case r.Within > 0:
		limit = fmt.Sprintf("1 ± %.1f %%", 100*max(r.Within, 2*r.Spread))
	}
	if r.Limited() {
		held = yes(r.Held())
	}
	if r.recorded > 0 {
		recorded = fmt.Sprintf("%.2f", r.recorded)
	}
	if r.fallen {
		recorded += ": **worse**"
	}
	return []string{
		fmt.Sprintf("%s, %s / %s", r.Metric, r.Of, r.To), fmt.Sprintf("%.2f", r.Value), fmt.Sprintf("%.2f to %.2f", r.Low, r.High),
		fmt.Sprintf("%.3f", r.Control), fmt.Sprintf("%.1f %%", 100*r.Spread), limit, held, recorded,
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

// kicks are those that the driver made for 1000 requests, in the median round.
func kicks(c duel.Contestant, results []bench.Result) string {
	if _, ok := c.(*duel.Backend); !ok {
		return "-"
	}
	var sum, requests float64
	for i := range results {
		sum += float64(results[i].Kicks)
		requests += float64(results[i].Requests)
	}
	return fmt.Sprintf("%.1f", 1000*sum/max(requests, 1))
}

// describe says in words what the load is.
func (e *entry) describe() string {
	l := &e.Load
	order := "random"
	if l.Mix.Sequential {
		order = "sequential"
	}
	what := "reads"
	if l.Mix.WritePercent == 100 {
		what = "writes"
	}
	wait := "a polling driver"
	if l.Wait == bench.Sleeping {
		wait = "a driver that sleeps until it is called"
	}
	return fmt.Sprintf("%d KiB %s %s, one queue, depth %d, %s, up to %d requests published at once; %d rounds of %v after %v, about %v in all.",
		l.BlockSize/kib, order, what, l.Depth, wait, l.Batch, e.Rounds, l.Duration, l.Warmup, e.takes().Round(time.Second))
}

// writeSummary writes all ratios with a limit, or that have fallen, and what was not measured.
func writeSummary(w io.Writer, entries []*entry) {
	t := table{head: append([]string{"contest"}, ratioHead...)}
	for _, e := range entries {
		if e.err != nil {
			t.row(e.Name, "not measured", "", "", "", "", "", "**no**", "")
		}
		for i := range e.ratios {
			t.row(append([]string{e.Name}, e.ratios[i].cells()...)...)
		}
	}
	t.write(w)
}

// printDry prints what would be measured.
func printDry(w io.Writer, s *site, entries []*entry) {
	var all time.Duration
	for _, e := range entries {
		_, _ = fmt.Fprintf(w, "%s: %s. %s\n", e.Name, e.Title, e.describe())
		for _, c := range e.Comparisons {
			cells := (&ratio{Ratio: duel.Ratio{Comparison: c}}).cells()
			_, _ = fmt.Fprintf(w, "  %s: limit %s\n", cells[0], cells[5])
		}
		for _, c := range e.Contestants {
			_, _ = fmt.Fprintf(w, "    %s\n", s.anonymous(c.Command()))
		}
		all += e.takes()
	}
	_, _ = fmt.Fprintf(w, "%d contests, about %v\n", len(entries), all.Round(time.Second))
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
