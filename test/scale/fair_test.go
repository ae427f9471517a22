package scale

import (
	"context"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/bench"
)

// TestNobodyStarves: one export of the only worker has 256 requests waiting at any time, another one asks for one after
// the other. By the budget of a turn (mostBudget in blk/worker.go, and its test there) two batches of 64 come first; what
// else there is to wait for is the machine.
func TestNobodyStarves(t *testing.T) {
	for name, disk := range map[string]string{
		"null": "store=null:1GiB", "mem": "store=mem:64MiB", "file": "blk-file=" + images(t, 2),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, options{exports: 2, disk: disk, args: []string{"--workers=1"}})
			busy, lone := beside(t, f.sockets[0], f.sockets[1])
			t.Logf("%.0f IOPS at depth 256; beside it %.0f at depth 1: p50 %v, p99 %v; %.0f requests of the flood come first, in the mean %.0f",
				busy.IOPS, lone.IOPS, lone.Latency.P50, lone.Latency.P99, lone.Latency.P50.Seconds()*busy.IOPS, lone.Latency.Mean.Seconds()*busy.IOPS)
			checkLone(t, busy, lone)
		})
	}
}

// checkLone demands what a starving export has not. The limit is far above what two batches take, because the driver of
// the flood, the worker and this one share what CPUs there are. Where the machine is slow, the flood is too: then not many of
// its requests come first.
func checkLone(t *testing.T, busy, lone bench.Result) {
	t.Helper()
	const limit, most = 20 * time.Millisecond, 2000
	first := lone.Latency.P50.Seconds() * busy.IOPS
	if lone.Requests == 0 || lone.Latency.P50 > limit && first > most {
		t.Errorf("%d requests, p50 %v, in which %.0f of the flood come first: want %v or %d at most", lone.Requests, lone.Latency.P50, first, limit, most)
	}
}

// beside floods one socket and makes a request at a time on another.
func beside(t *testing.T, flooded, other string) (busy, lone bench.Result) {
	t.Helper()
	const window = time.Second
	ended := make(chan error, 1)
	go func() {
		var err error
		busy, err = bench.Run(context.Background(), bench.Config{Socket: flooded, Depth: 256, Indirect: true, Duration: window + 200*time.Millisecond})
		ended <- err
	}()
	lone, err := bench.Run(context.Background(), bench.Config{
		Socket: other, Wait: bench.Sleeping, Warmup: 100 * time.Millisecond, Duration: window,
	})
	if e := <-ended; err == nil {
		err = e
	}
	if err != nil {
		t.Fatal(err)
	}
	return busy, lone
}
