package scale

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/bench"
)

// TestCostPerRequest: a load of one request per kick costs the same shared by 256 exports as on one. `make bench` knows how
// near; here, beside other tests, it must not be far off.
func TestCostPerRequest(t *testing.T) {
	f := start(t, options{exports: 256, args: []string{"--workers=1"}})
	sizes := []int{1, 16, 256}
	cpu := make(map[int][]time.Duration)
	for range 3 {
		for _, n := range sizes {
			r, err := bench.Fleet(context.Background(), bench.FleetConfig{
				Sockets: f.sockets[:n], Rate: 20_000, CPU: -1,
				Config: bench.Config{Wait: bench.Sleeping, BackendPID: f.pid(), Warmup: 50 * time.Millisecond, Duration: 250 * time.Millisecond},
			})
			if err != nil {
				t.Fatal(err)
			}
			cpu[n] = append(cpu[n], r.CPUPerRequest)
		}
	}
	for _, n := range sizes {
		slices.Sort(cpu[n])
		t.Logf("%3d exports: %v of CPU a request, median of %v", n, cpu[n][1], cpu[n])
		if cpu[n][1] > 2*cpu[1][1] {
			t.Errorf("%d exports: %v a request, %v with one", n, cpu[n][1], cpu[1][1])
		}
	}
}
