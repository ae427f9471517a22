package duel

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

func TestFio(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a:b.raw")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	load := bench.Config{Depth: 4, BlockSize: 4096, Duration: 400 * time.Millisecond, Warmup: 20 * time.Millisecond}
	for word, options := range map[string][]string{"randread": nil, "write": {"--fixedbufs=1"}} {
		var err error
		if load.Mix, err = bench.ParseMix(word); err != nil {
			t.Fatal(err)
		}
		f := &Fio{Label: "fio", Program: "fio", File: file, CPU: someCPU(t), Options: options, Load: load}
		if err := f.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		r, err := f.Turn(context.Background(), load)
		if err != nil {
			t.Fatal(err)
		}
		l := r.Latency
		switch {
		case r.Requests == 0 || r.IOPS <= 0 || r.MBps <= 0 || r.Bytes < r.Requests*4096:
			t.Errorf("%s: %+v", word, r)
		case l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.Mean > l.Max:
			t.Errorf("%s: latencies %+v", word, l)
		case r.Elapsed < 300*time.Millisecond || r.Elapsed > 10*time.Second:
			t.Errorf("%s: it took %v", word, r.Elapsed)
		}
	}
}

func TestFioThatFails(t *testing.T) {
	f := &Fio{Label: "fio", Program: "fio", File: "/nonexistent", CPU: -1}
	_, err := f.Turn(context.Background(), bench.Config{Depth: 1, BlockSize: 4096, Duration: time.Second})
	want(t, err, "fio --name=duel", "--filename=/nonexistent", "exit status 1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = f.Turn(ctx, bench.Config{Depth: 1, BlockSize: 4096, Duration: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	want(t, (&Fio{Program: "no-such-fio"}).Start(context.Background()), "package fio")
}

func TestParseFio(t *testing.T) {
	const good = `{"total_ios": 10, "io_bytes": 40960, "iops": 1000.5, "runtime": 10,
		"lat_ns": {"min": 1, "max": 9, "mean": 5.5, "percentile": {"50.000000": 4, "90.000000": 6, "99.000000": 7, "99.900000": 8}}}`
	const none = `{"total_ios": 0}`
	r, err := parseFio([]byte("note: something\n" + `{"jobs": [{"error": 0, "read": ` + good + `, "write": ` + none + `}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (bench.Result{
		Requests: 10, Bytes: 40960, Elapsed: 10 * time.Millisecond, IOPS: 1000.5, MBps: 4.096,
		Latency: bench.Latency{Mean: 5, Min: 1, P50: 4, P90: 6, P99: 7, P999: 8, Max: 9},
	}); r != want {
		t.Errorf("%+v", r)
	}
	for text, part := range map[string]string{
		"":                         "no JSON",
		"{":                        "output of fio",
		`{"jobs": []}`:             "0 jobs",
		`{"jobs": [{"error": 5}]}`: "without an error",
		`{"jobs": [{"read": ` + none + `, "write": ` + none + `}]}`: "done nothing",
		`{"jobs": [{"read": ` + good + `, "write": ` + good + `}]}`: "two kinds",
	} {
		_, err := parseFio([]byte(text))
		want(t, err, part)
	}
}
