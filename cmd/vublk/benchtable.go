package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"unicode/utf8"
)

// table writes for people.
func (r *benchReport) table(w io.Writer) error {
	p := r.plan
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "%s; %s\n", p, r.timing())
	_, _ = fmt.Fprintf(t, "%s; Linux %s, %d x %s\n\n", r.placement(), r.Kernel, r.CPUs, r.CPU)
	for _, b := range r.Backends {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", b.Name, b.Command)
	}
	_, _ = fmt.Fprintln(t)
	if err := t.Flush(); err != nil { // reports the first error of all the writes
		return err
	}
	if err := r.figures(w); err != nil {
		return err
	}
	if err := r.ratios(w); err != nil {
		return err
	}
	for _, n := range r.Notes {
		if _, err := fmt.Fprintf(w, "\nNote: %s.\n", n); err != nil {
			return err
		}
	}
	return nil
}

// timing says how long and how often.
func (r *benchReport) timing() string {
	l := &r.plan.load
	if n := r.plan.rounds; n > 1 {
		return fmt.Sprintf("medians of %d rounds of %v, each after %v of warm-up", n, l.Duration, l.Warmup)
	}
	return fmt.Sprintf("%v after %v of warm-up", l.Duration, l.Warmup)
}

func (r *benchReport) placement() string {
	driver, backend := "driver on any CPU", "back-end on any CPU"
	if list := r.Load.DriverCPUs; len(list) > 0 {
		driver = "driver on CPU " + joinInts(list)
	}
	switch list := r.Load.BackendCPUs; {
	case r.plan.socket != "":
		return driver
	case len(list) > 0:
		backend = "back-end on CPU " + joinInts(list)
	}
	return driver + ", " + backend
}

// align writes a table whose first column stands left and whose others stand right.
func align(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := fmt.Sprintf("%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func (r *benchReport) figures(w io.Writer) error {
	rows := [][]string{{"", "depth", "IOPS", "MB/s", "mean", "p50", "p90", "p99", "p99.9", "max", "CPU/IO", "kicks/1000"}}
	for i := range r.Results {
		b := &r.Results[i]
		cpu := "-"
		if b.CPU != nil {
			cpu = duration(int64(*b.CPU))
		}
		rows = append(rows, []string{
			b.Backend, strconv.Itoa(b.Depth), count(b.IOPS), fmt.Sprintf("%.0f", b.MBps), duration(b.Mean), duration(b.P50), duration(b.P90),
			duration(b.P99), duration(b.P999), duration(b.Max), cpu, fmt.Sprintf("%.1f", b.Kicks),
		})
	}
	return align(w, rows)
}

// ratios writes a row for each depth: vublk to its peer, and what the control says of that.
func (r *benchReport) ratios(w io.Writer) error {
	if len(r.Ratios) == 0 {
		return nil
	}
	head := []string{vublkName + " / " + peerName, "depth", "IOPS", "mean", "p99", "CPU/IO"}
	rows := [][]string{head}
	for _, depth := range r.plan.depths {
		row := []string{"", strconv.Itoa(depth)}
		for _, m := range benchMetrics {
			cell := "-"
			for _, v := range r.Ratios {
				if v.Depth == depth && v.Metric == m.key {
					cell = fmt.Sprintf("%.2f ±%.0f%%", v.Ratio, 100*v.Spread)
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := align(w, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n± is how far from 1 the same ratio may come between %s and %s, which are the same program.\n", vublkName, controlName)
	return err
}

// count writes a number of requests a second.
func count(v float64) string {
	switch {
	case v >= 99_950:
		return fmt.Sprintf("%.0f k", v/1e3)
	case v >= 999.5:
		return fmt.Sprintf("%.1f k", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

// duration writes nanoseconds with three digits.
func duration(ns int64) string {
	v, unit := float64(ns), "ns"
	for _, next := range []string{"µs", "ms", "s"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1e3, next
	}
	digits := 0
	switch {
	case unit == "ns":
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}
