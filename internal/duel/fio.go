package duel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// Fio is a contestant: fio on the file itself, with no virtual machine and no socket. It makes the load and does the I/O
// on one CPU, where a back-end has a driver on another one: what it reaches is not all that the kernel can do. Its CPU time
// is not measured: what fio says of it leaves out io_uring's threads in the kernel (io-wq), which do all the work on a tmpfs.
type Fio struct {
	Label   string
	Program string // "fio"
	File    string
	CPU     int      // it runs on; negative: on any
	Options []string // more options, as --registerfiles
	Load    bench.Config
}

// fioOptions are what is always so: io_uring and O_DIRECT as back-ends have it, offsets drawn without a map of those that
// were, as our driver does it.
var fioOptions = []string{
	"--name=duel", "--ioengine=io_uring", "--direct=1", "--norandommap=1", "--time_based=1", "--output-format=json",
	"--lat_percentiles=1", "--percentile_list=50:90:99:99.9", "--group_reporting=1", "--allow_file_create=0",
}

// Name is the label.
func (f *Fio) Name() string { return f.Label }

// Command is the command line of a turn under f.Load.
func (f *Fio) Command() string { return pinned(f.CPU, f.argv(f.Load)) }

// Start has nothing to start: each turn is a process.
func (f *Fio) Start(context.Context) error {
	_, err := exec.LookPath(f.Program)
	return errors.Wrap(err, "is the package fio installed?")
}

// Stop has nothing to stop.
func (f *Fio) Stop() error { return nil }

func (f *Fio) argv(load bench.Config) []string {
	argv := append([]string{f.Program}, fioOptions...)
	return append(append(argv,
		"--filename="+strings.ReplaceAll(f.File, ":", `\:`),
		"--rw="+load.Mix.String(),
		"--bs="+strconv.FormatUint(uint64(load.BlockSize), 10),
		"--iodepth="+strconv.Itoa(load.Depth),
		fmt.Sprintf("--runtime=%dms", load.Duration.Milliseconds()),
		fmt.Sprintf("--ramp_time=%dms", load.Warmup.Milliseconds()),
	), f.Options...)
}

// Turn runs fio once.
func (f *Fio) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	argv := f.argv(load)
	// A file takes what it says, so that nobody of ours must run to read a pipe while it is measured.
	out, err := os.CreateTemp("", "duel-fio-")
	if err != nil {
		return bench.Result{}, errors.Wrap(err, "output of fio")
	}
	defer func() { _ = out.Close(); _ = os.Remove(out.Name()) }()
	p := newProcess(argv, out)
	if err := p.launch(f.CPU); err != nil {
		return bench.Result{}, err
	}
	select {
	case <-ctx.Done():
		p.Kill()
		return bench.Result{}, context.Cause(ctx)
	case <-p.ended:
	}
	if p.err != nil {
		return bench.Result{}, p.explain(p.err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return bench.Result{}, errors.Wrap(err, "output of fio")
	}
	r, err := parseFio(text)
	if err != nil {
		return bench.Result{}, p.explain(err)
	}
	return r, nil
}

// fioOutput is what we want of fio's JSON.
type fioOutput struct {
	Jobs []struct {
		Error       int     `json:"error"`
		Read, Write fioSide // no tags: fio's names differ in case only
	} `json:"jobs"`
}

// fioSide is one direction.
type fioSide struct {
	Requests uint64  `json:"total_ios"`
	Bytes    uint64  `json:"io_bytes"`
	IOPS     float64 `json:"iops"`
	Runtime  float64 `json:"runtime"` // ms
	Latency  struct {
		Min        float64            `json:"min"`
		Max        float64            `json:"max"`
		Mean       float64            `json:"mean"`
		Percentile map[string]float64 `json:"percentile"`
	} `json:"lat_ns"`
}

// parseFio makes a result of fio's JSON. Warnings may stand before it.
func parseFio(text []byte) (bench.Result, error) {
	begin := bytes.IndexByte(text, '{')
	if begin < 0 {
		return bench.Result{}, errors.New("fio has written no JSON")
	}
	var o fioOutput
	if err := json.NewDecoder(bytes.NewReader(text[begin:])).Decode(&o); err != nil {
		return bench.Result{}, errors.Wrap(err, "output of fio")
	}
	if len(o.Jobs) != 1 || o.Jobs[0].Error != 0 {
		return bench.Result{}, errors.Errorf("output of fio: %d jobs, want one without an error", len(o.Jobs))
	}
	job := &o.Jobs[0]
	s := &job.Read
	if job.Write.Requests > 0 {
		s = &job.Write
	}
	switch {
	case job.Read.Requests > 0 && job.Write.Requests > 0:
		return bench.Result{}, errors.New("fio has read and written: its latencies are of two kinds")
	case s.Requests == 0 || s.Runtime <= 0:
		return bench.Result{}, errors.New("fio has done nothing")
	}
	seconds := s.Runtime / 1e3
	at := func(percentile string) time.Duration { return time.Duration(s.Latency.Percentile[percentile]) }
	return bench.Result{
		Requests: s.Requests, Bytes: s.Bytes, IOPS: s.IOPS, MBps: float64(s.Bytes) / seconds / 1e6,
		Elapsed: time.Duration(seconds * float64(time.Second)),
		Latency: bench.Latency{
			Mean: time.Duration(s.Latency.Mean), Min: time.Duration(s.Latency.Min), Max: time.Duration(s.Latency.Max),
			P50: at("50.000000"), P90: at("90.000000"), P99: at("99.000000"), P999: at("99.900000"),
		},
	}, nil
}
