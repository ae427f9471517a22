package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
)

func TestRun(t *testing.T) {
	socket := serve(t, memDisk(t, 16*mib), blk.DeviceOptions{Cache: blk.CacheWriteback})
	for name, c := range map[string]Config{
		"defaults":              {},
		"deep":                  {Depth: 64},
		"indirect":              {Depth: 8, Indirect: true},
		"packed":                {Depth: 32, Packed: true, NoEventIdx: true},
		"packed, indirect":      {Depth: 32, Packed: true, Indirect: true},
		"sleeping":              {Wait: Sleeping},
		"sleeping, deep":        {Wait: Sleeping, Depth: 32, Packed: true},
		"two queues, mixed":     {Queues: 2, Depth: 4, Mix: Mix{WritePercent: 30, FlushPercent: 10}},
		"sequential, large":     {Queues: 2, Depth: 2, BlockSize: mib, Mix: Mix{Sequential: true, WritePercent: 50}},
		"writes within a span":  {Depth: 4, BlockSize: 512, Span: 4096, Mix: Mix{WritePercent: 100}},
		"each on its own":       {Depth: 16, Batch: 1},
		"all at once":           {Depth: 32, Batch: 32, Packed: true},
		"flushes":               {Depth: 2, Mix: Mix{FlushPercent: 100}},
		"pinned, with a warmup": {Depth: 2, CPUs: []int{someCPU(t)}, Warmup: 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			c.Socket, c.Duration = socket, 30*time.Millisecond
			for try := 1; ; try++ {
				r, err := Run(context.Background(), c)
				if err != nil {
					t.Fatal(err)
				}
				// A driver that gets its CPU back late always finds something done, and has no reason to sleep.
				if c.Wait == Sleeping && r.Sleeps == 0 && try < 20 {
					continue
				}
				checkResult(t, c, r)
				return
			}
		})
	}
}

func checkResult(t *testing.T, c Config, r Result) {
	t.Helper()
	l := r.Latency
	switch {
	case r.Requests == 0 || r.IOPS <= 0 || r.Elapsed < c.Duration:
		t.Errorf("nothing was measured: %+v", r)
	case l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || l.Mean > l.Max:
		t.Errorf("latencies out of order: %+v", l)
	case c.Mix.FlushPercent == 0 && (r.MBps <= 0 || r.Bytes%r.Requests != 0):
		t.Errorf("%d requests of %d bytes in sum", r.Requests, r.Bytes)
	case c.Mix.FlushPercent == 100 && r.Bytes != 0:
		t.Errorf("flushes moved %d bytes", r.Bytes)
	case (c.Wait == Sleeping) != (r.Sleeps > 0):
		t.Errorf("slept %d times", r.Sleeps)
	}
}

func TestRunRefuses(t *testing.T) {
	readOnly := serve(t, blk.NewNull(mib), blk.DeviceOptions{ReadOnly: true})
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"nobody there":    {Config{Socket: readOnly + "-not"}, "connect"},
		"read-only":       {Config{Mix: Mix{WritePercent: 1}}, "read-only"},
		"no flush":        {Config{Mix: Mix{FlushPercent: 1}}, "FLUSH"},
		"too many queues": {Config{Queues: 257}, "queues"},
		"too deep":        {Config{Depth: MaxDepth + 1}, "depth"},
		"no batch":        {Config{Batch: -1}, "batches of -1"},
		"half a sector":   {Config{BlockSize: 700}, "block size"},
		"a bad mix":       {Config{Mix: Mix{WritePercent: 101}}, "101 %"},
		"no room":         {Config{BlockSize: 2 * mib}, "no room"},
		"no such CPU":     {Config{CPUs: []int{1000}}, "CPU 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.config
			if c.Socket == "" {
				c.Socket = readOnly
			}
			c.Duration = 10 * time.Millisecond
			if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestRunTellsOfFailedRequests(t *testing.T) {
	socket := serve(t, blk.NewNull(mib), blk.DeviceOptions{})
	c := Config{Socket: socket, Queues: 2, Seed: 1}
	c.setDefaults()
	target, err := connect(&c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = drive(context.Background(), &c, nil, target.drivers(), 1<<40) // the disk is smaller
	if err == nil || !strings.Contains(err.Error(), "status 1") {
		t.Errorf("error %v, want one with a status", err)
	}
	if err := target.close(false); err != nil {
		t.Error(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	socket := serve(t, blk.NewNull(mib), blk.DeviceOptions{})
	for _, wait := range []Wait{Polling, Sleeping} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		c := Config{Socket: socket, Queues: 2, Depth: 8, Duration: time.Hour, Wait: wait}
		if _, err := Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		cancel()
	}
}
