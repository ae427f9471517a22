package scale

import (
	"context"
	"os"
	"testing"
	"time"

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
	// What a session takes, and the question.
	const session = 2000
	for name, disk := range map[string]string{"null": "store=null:1GiB", "mem": "store=mem:64MiB", "file": "blk-file=" + images(t, 1)} {
		f := start(t, options{exports: 1, disk: disk, insight: true})
		c := bench.Config{Socket: f.sockets[0], Depth: 32, Queues: 2, Mix: bench.Mix{WritePercent: 30}}
		n := many
		if name == "file" {
			n = many / 50 // slow
			c.Span = 16 << 20
		}
		objects, requests, err := Objects(context.Background(), c, f.insight, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d requests, %d objects allocated", name, requests, objects)
		if objects > session || requests < n/20 {
			t.Errorf("%s: %d objects were allocated for %d requests, want %d at most, for %d", name, objects, requests, session, n/20)
		}
		f.stop(t)
	}
}

// TestCollections: make bench says how much the tail grows by forced collections; here they must do no great harm.
func TestCollections(t *testing.T) {
	t.Parallel()
	f := start(t, options{exports: 100, insight: true})
	f.attachAll(t, 1, vhostusertest.Options{}) // something to mark
	tail, err := MeasureTail(context.Background(), bench.Config{
		Socket: f.sockets[0], Depth: 8, Warmup: 50 * time.Millisecond, Duration: 500 * time.Millisecond,
	}, f.insight, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d collections; p99.9 %v with them, %v without, ratio %.2f; p50 ratio %.2f", tail.Collections,
		time.Duration(tail.With.ValueAtPercentile(99.9)), time.Duration(tail.Without.ValueAtPercentile(99.9)), tail.Ratio(99.9), tail.Ratio(50))
	if tail.Collections < 9 {
		t.Errorf("only %d collections", tail.Collections)
	}
	if r := tail.Ratio(99); r > 3 {
		t.Errorf("p99 grows by %.2f", r)
	}
}
