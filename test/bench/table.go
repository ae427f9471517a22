package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes the contest's command lines, its table and its ratios. The driver's ceiling is its loop against a device
// in this process that answers without looking.
func (c *contest) print(o options) {
	fmt.Printf("%s: 4K random reads, one queue, depth %d, polling driver\n\n", c.title, o.depth)
	for _, p := range c.peers {
		fmt.Printf("  %s\n", strings.Join(p.argv, " "))
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, cell := range cells {
			_, _ = fmt.Fprintf(w, "%v\t", cell) // a writer to memory until Flush
		}
		_, _ = fmt.Fprintln(w)
	}
	head := []any{"k IOPS"}
	for i := range o.runs {
		head = append(head, fmt.Sprintf("run %d", i+1))
	}
	row(append(head, "median", "p50", "p99", "kicks/1000")...)
	for _, p := range c.peers {
		cells := []any{p.name}
		for _, r := range p.results {
			cells = append(cells, thousands(r.IOPS))
		}
		p50, p99, kicks := p.typical()
		row(append(cells, thousands(p.iops()), p50, p99, fmt.Sprintf("%.2f", kicks))...)
	}
	cells := []any{"driver's ceiling"}
	for _, iops := range c.ceiling {
		cells = append(cells, thousands(iops))
	}
	row(append(cells, thousands(median(c.ceiling)), "", "", "")...)
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: print the table:", err)
	}
	a, q, b := c.peers[0].iops(), c.peers[1].iops(), c.peers[2].iops()
	fmt.Printf("\nvublk / qemu-storage-daemon: %.2f   A/A control, vublk / vublk: %.2f   ceiling / vublk: %.2f\n", a/q, a/b, median(c.ceiling)/a)
	if median(c.ceiling) < enough*a {
		fmt.Println("The driver is near its own limit: vublk's figure is a lower bound.")
	}
	fmt.Println()
}

// enough is how far above vublk's figure the ceiling must be for the driver not to matter.
const enough = 1.5

func thousands(v float64) string { return fmt.Sprintf("%.0f", v/1e3) }

// typical are medians over the runs: of the latency's percentiles, and of kicks per 1000 requests.
func (p *peer) typical() (p50, p99 time.Duration, kicks float64) {
	var mid, tail, kicked []float64
	for _, r := range p.results {
		mid = append(mid, float64(r.Latency.P50))
		tail = append(tail, float64(r.Latency.P99))
		kicked = append(kicked, 1000*float64(r.Kicks)/float64(max(r.Requests, 1)))
	}
	return time.Duration(median(mid)), time.Duration(median(tail)), median(kicked)
}
