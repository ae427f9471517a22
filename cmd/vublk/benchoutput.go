package main

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pkg/errors"
)

// publish writes the report, and draws it where that was asked for.
func (p *benchPlan) publish(r *benchReport, w io.Writer) error {
	write := r.table
	switch p.output {
	case outputJSON:
		write = r.json
	case outputCSV:
		write = r.csv
	}
	// The picture may fail; the figures are out by then.
	if err := write(w); err != nil {
		return errors.Wrap(err, "write")
	}
	if p.plot == "" {
		return nil
	}
	return errors.Wrap(r.savePlot(p.plot), "plot")
}

func (r *benchReport) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // command lines are for people, too
	return e.Encode(r)
}

// csv writes a line for each result. The names are those in JSON.
func (r *benchReport) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	c.UseCRLF = false
	_ = c.Write([]string{ // Flush has the error
		"backend", "rw", "write_percent", "flush_percent", "block_size_bytes", "queues", "driver", "depth", "requests", "iops", "throughput_mb_per_s",
		"latency_mean_ns", "latency_p50_ns", "latency_p90_ns", "latency_p99_ns", "latency_p99_9_ns", "latency_max_ns",
		"cpu_per_io_ns", "context_switches_per_1000", "kicks_per_1000", "driver_sleeps_per_1000",
	})
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	whole := func(v int64) string { return strconv.FormatInt(v, 10) }
	optional := func(v *float64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	l := &r.Load
	for i := range r.Results {
		b := &r.Results[i]
		_ = c.Write([]string{
			b.Backend, l.RW, whole(int64(l.WritePercent)), whole(int64(l.FlushPercent)), whole(int64(l.BlockSize)), whole(int64(l.Queues)), l.Driver,
			whole(int64(b.Depth)), strconv.FormatUint(b.Requests, 10), number(b.IOPS), number(b.MBps),
			whole(b.Mean), whole(b.P50), whole(b.P90), whole(b.P99), whole(b.P999), whole(b.Max),
			optional(b.CPU), optional(b.Switches), number(b.Kicks), number(b.Sleeps),
		})
	}
	c.Flush()
	return c.Error()
}

// savePlot draws the report into a file, which is there complete or not at all.
func (r *benchReport) savePlot(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	figure := r.figure()
	if filepath.Ext(path) == ".png" {
		err = figure.PNG(f)
	} else {
		err = figure.SVG(f)
	}
	if err == nil {
		const readableByAll = 0o644
		err = f.Chmod(readableByAll)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
