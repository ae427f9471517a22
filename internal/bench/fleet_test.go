package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

func TestFleet(t *testing.T) {
	var sockets []string
	for range 5 {
		sockets = append(sockets, serve(t, memDisk(t, 16*mib), blk.DeviceOptions{Cache: blk.CacheWriteback}))
	}
	for name, c := range map[string]Config{
		"polling":  {},
		"sleeping": {Wait: Sleeping},
		"packed":   {Packed: true, Mix: Mix{WritePercent: 50}},
		"flushes":  {Mix: Mix{FlushPercent: 50}, Wait: Sleeping},
	} {
		t.Run(name, func(t *testing.T) {
			c.Duration, c.Warmup = 100*time.Millisecond, 10*time.Millisecond
			const rate = 2000
			var r Result
			for try := 0; try == 0 || c.Wait == Sleeping && r.Sleeps == 0 && try < 20; try++ { // as in TestRun
				var err error
				if r, err = Fleet(context.Background(), FleetConfig{Sockets: sockets, Rate: rate, CPU: -1, Config: c}); err != nil {
					t.Fatal(err)
				}
			}
			checkResult(t, c, r)
			// What was due in the warm-up may be done later.
			if most := rate*(r.Elapsed+c.Warmup).Seconds() + 2; float64(r.Requests) > most || r.Kicks > r.Requests+5 {
				t.Errorf("%d requests and %d kicks in %v, want %.0f at most", r.Requests, r.Kicks, r.Elapsed, most)
			}
			if r.BackendCPU <= 0 || r.CPUPerRequest <= 0 {
				t.Errorf("no CPU time was measured: %+v", r)
			}
		})
	}
}

// TestFleetTakesTurns: each export has its share of the requests, whatever their number.
func TestFleetTakesTurns(t *testing.T) {
	f := &fleet{config: &FleetConfig{}, latency: newHistogram()}
	f.config.setDefaults()
	f.config.Sockets = []string{serve(t, memDisk(t, 16*mib), blk.DeviceOptions{}), serve(t, memDisk(t, 16*mib), blk.DeviceOptions{})}
	f.config.Queues, f.config.Depth, f.ctx = 1, 1, context.Background()
	if _, err := f.connect(); err != nil {
		t.Fatal(err)
	}
	f.begin = time.Now()
	for end := 20 * time.Millisecond; f.count.done < 2; end += 20 * time.Millisecond {
		if err := f.until(end); err != nil {
			t.Fatal(err)
		}
	}
	for len(f.flying) > 0 {
		if err := f.reap(); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range f.ships {
		if s.slot.issued == 0 || s.slot.status() != 0 {
			t.Errorf("%d requests, none of export %d, or it failed: status %d", f.count.done, i, s.slot.status())
		}
	}
	if err := f.close(true); err != nil {
		t.Fatal(err)
	}
}

func TestFleetRefuses(t *testing.T) {
	for want, c := range map[string]FleetConfig{
		"want one at least": {},
		"more than 0":       {Sockets: []string{"s"}, Rate: -1},
		"front-end on":      {Sockets: []string{"/nowhere"}, CPU: -1},
		"multiple of 512":   {Sockets: []string{"s"}, Config: Config{BlockSize: 1}},
	} {
		if _, err := Fleet(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
