package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/test/e2e/guest"
)

// harried is an upgraded of which a worker is killed while one hands over to the next: either of the two.
type harried struct {
	*upgraded
	r *rand.Rand
}

func harrying(programs ...string) maker {
	return func(dir, image string, r *rand.Rand) backend {
		b, _ := upgrading(programs...)(dir, image, r).(*upgraded)
		b.argv = append(b.argv, "--restart-limit=0")
		return harried{b, rand.New(rand.NewPCG(r.Uint64(), 0))}
	}
}

func (b harried) kill() error {
	b.turn++
	if err := b.demand(b.programs[b.turn%len(b.programs)]); err != nil {
		return err
	}
	time.Sleep(time.Duration(b.r.IntN(60_000)) * time.Microsecond) // an upgrade takes half of that
	var workers []int
	for len(workers) == 0 {
		children, err := guest.Children(b.process.PID())
		if err != nil {
			return err
		}
		workers = slices.DeleteFunc(children, func(pid int) bool { return !guest.Leads(pid) })
	}
	// It may have ended by itself meanwhile.
	if err := guest.KillProcess(workers[b.r.IntN(len(workers))]); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// TestKillsInUpgrade kills workers while they replace each other.
func TestKillsInUpgrade(t *testing.T) {
	t.Logf("VUBLK_SEED=%#x", lab.seed)
	var rows []*row
	t.Cleanup(func() { printTable(t, rows) })
	m := mode{name: "vublk, killed upgrades", maker: harrying(lab.vublk), short: 10, long: 100}
	for i, s := range shapes {
		r := &row{mode: m.name, shape: s}
		rows = append(rows, r)
		t.Run(fmt.Sprintf("packed=%v,queues=%d", s.packed, s.queues), func(t *testing.T) {
			m.campaign(t, r, lab.seed+uint64(i)<<32)
		})
	}
}
