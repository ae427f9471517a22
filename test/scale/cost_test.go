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
	sizes := []int{1, 16, 256, 1} // one export twice: how much the machine differs from itself
	cpu := make([]costs, len(sizes))
	for range 7 {
		for i, n := range sizes {
			r, err := bench.Fleet(context.Background(), bench.FleetConfig{
				Sockets: f.sockets[:n], Rate: 20_000, CPU: -1,
				Config: bench.Config{Wait: bench.Sleeping, BackendPID: f.pid(), Warmup: 50 * time.Millisecond, Duration: 150 * time.Millisecond},
			})
			if err != nil {
				t.Fatal(err)
			}
			cpu[i] = append(cpu[i], r.CPUPerRequest)
		}
	}
	one := max(cpu[0].median(), cpu[3].median())
	for i, n := range sizes {
		t.Logf("%3d exports: %v of CPU a request, median of %v", n, cpu[i].median(), cpu[i])
		if cpu[i].median() > 2*one {
			t.Errorf("%d exports: %v a request, %v with one", n, cpu[i].median(), one)
		}
	}
}

// costs is the CPU time of a request, of several runs.
type costs []time.Duration

// median sorts them.
func (c costs) median() time.Duration {
	slices.Sort(c)
	return c[len(c)/2]
}
