package scale

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// TestNoAllocation counts what the whole process allocates while it serves millions of requests, 10 with VUBLK_PROVE=long.
func TestNoAllocation(t *testing.T) {
	t.Parallel()
	many := uint64(1_000_000)
	if os.Getenv("VUBLK_PROVE") == "long" {
		many = 10_000_000
	}
	const session = 2000 // objects, at most, and the question is among them
	for name, disk := range map[string]string{"null": "store=null:1GiB", "mem": "store=mem:64MiB", "file": "blk-file=" + images(t, 1)} {
		f := start(t, options{exports: 1, disk: disk, insight: true})
		c := bench.Config{Socket: f.sockets[0], Depth: 32, Queues: 2, Mix: bench.Mix{WritePercent: 30}}
		n := many
		if name == "file" {
			n = many / 50 // slow
			c.Span = 16 << 20
		}
		o, err := MeasureObjects(context.Background(), c, f.insight, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d requests in %d sessions, %d objects allocated", name, o.Requests, o.Sessions, o.Objects)
		if most := session * o.Sessions; o.Objects > most {
			t.Errorf("%s: %d objects were allocated for %d requests in %d sessions, want %d at most", name, o.Objects, o.Requests, o.Sessions, most)
		}
		f.stop(t)
	}
}

// TestCollections: make bench says how much the tail grows by forced collections; here they must do no great harm. It runs by
// itself: pollers beside it would be in the tail.
func TestCollections(t *testing.T) {
	f := start(t, options{exports: 100, insight: true})
	f.attachAll(t, 1, vhostusertest.Options{}) // something to mark
	tail, err := MeasureTail(context.Background(), bench.Config{
		Socket: f.sockets[0], Depth: 8, Warmup: 50 * time.Millisecond, Duration: 400 * time.Millisecond,
	}, f.insight, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i, with := range tail.With {
		p99 := func(h *hdrhistogram.Histogram) time.Duration { return time.Duration(h.ValueAtPercentile(99)) }
		t.Logf("p99 %v with collections, %v and %v without", p99(with), p99(tail.Without[i]), p99(tail.Again[i]))
	}
	t.Logf("%d collections; medians of the ratios: p50 %.2f, p99 %.2f, p99.9 %.2f", tail.Collections, tail.Ratio(50), tail.Ratio(99), tail.Ratio(99.9))
	if tail.Collections < 14 {
		t.Errorf("only %d collections", tail.Collections)
	}
	if r := tail.Ratio(99); r > 3 {
		t.Errorf("p99 grows by %.2f", r)
	}
}
