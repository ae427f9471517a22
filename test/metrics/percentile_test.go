package metrics

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/test/fusedisk"
)

// slow are flushes by how long the medium takes for each, and a quantile of all of them that is one of these.
var slow = []struct {
	delay    time.Duration
	flushes  int
	quantile float64
}{
	{20 * time.Millisecond, 20, 0.5},
	{80 * time.Millisecond, 10, 0.75},
	{320 * time.Millisecond, 4, 1},
}

// noise is how long a worker may wait for a CPU while its clock runs and the driver's does not: before a request that its turn
// goes on to find, and after it has told the driver.
const noise = 50 * time.Millisecond

// TestPercentiles: the quantiles that a real Prometheus makes of the histogram, of flushes that a medium is known to be slow
// for. They are somewhere in a bucket, which ends at twice its beginning: at least half of what the medium takes, and at most
// twice of what the driver has measured.
func TestPercentiles(t *testing.T) {
	dir := t.TempDir()
	disk, err := fusedisk.New(t.TempDir(), diskSize, fusedisk.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, disk.Close()) })
	p := serve(t, dir, "127.0.0.1:0", []string{"a=blk-file=" + disk.Path()}, "--cache=writeback")
	prometheus := startPrometheus(t, p.address())
	a := newLedger(t, "a", filepath.Join(dir, "a"))
	var took []time.Duration
	for _, s := range slow {
		disk.SetDelay(s.delay)
		for range s.flushes {
			a.do(t, 0, "write", clitest.Out, 0, make([]byte, 4096), 4096, 0) // nothing new, no fdatasync
			begin := time.Now()
			a.do(t, 0, "flush", clitest.Flush, 0, nil, 0, 0)
			took = append(took, time.Since(begin))
		}
	}
	prometheus.awaitLoad(t, a)
	slices.Sort(took)
	for _, s := range slow {
		query := fmt.Sprintf("histogram_quantile(%v, sum by (le) (vublk_request_duration_seconds_bucket{export=%q,op=%q}))", s.quantile, "a", "flush")
		v, err := prometheus.query(query)
		told, driver := time.Duration(v*float64(time.Second)), took[int(s.quantile*float64(len(took)))-1]
		if err != nil || told < s.delay/2 || told > 2*(driver+noise) {
			t.Errorf("%s: %v, %v; the medium takes %v, the driver has measured %v", query, told, err, s.delay, driver)
		}
		t.Logf("quantile %v is %v, the driver has measured %v", s.quantile, told, driver)
	}
}
