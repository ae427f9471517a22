package crash

import (
	"fmt"
	"slices"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/driver"
)

// row is a line of the table: what the lives of some guests have come to.
type row struct {
	mode  string
	shape shape

	kills, lives            int
	caught                  int64 // requests in flight at kills
	requests, flushes       int64
	lost, stuck, twice, bad int // sectors; requests; completions; whatever else
	stalls                  []time.Duration
}

// add adds a life and what was wrong with it.
func (r *row) add(l *life, err error) {
	r.lives++
	r.kills += l.killed
	r.caught += l.caught.Load()
	r.requests += l.requests.Load()
	r.flushes += l.flushes.Load()
	r.stalls = append(r.stalls, l.stalls...)
	var stale *driver.StaleError
	switch {
	case err == nil:
	case errors.As(err, &stale):
		r.lost += stale.Sectors
	case errors.Is(err, errStuck):
		r.stuck += l.stuck
	case errors.Is(err, errTwice):
		r.twice++
	default:
		r.bad++
	}
}

func (r *row) faults() int { return r.lost + r.stuck + r.twice + r.bad }

// stall returns a quantile, in milliseconds, of the time from a kill to the first completion after it.
func (r *row) stall(q float64) int64 {
	if len(r.stalls) == 0 {
		return 0
	}
	slices.Sort(r.stalls)
	return r.stalls[int(q*float64(len(r.stalls)-1))].Round(time.Millisecond).Milliseconds()
}

const header = "| mode                   | ring   | queues | kills | in flight | guests | requests | flushes | lost | stuck | twice | else | stall p50 | p99 | max, ms |"

func (r *row) String() string {
	ring := "split"
	if r.shape.packed {
		ring = "packed"
	}
	return fmt.Sprintf("| %-22s | %-6s | %6d | %5d | %9d | %6d | %8d | %7d | %4d | %5d | %5d | %4d | %9d | %3d | %7d |",
		r.mode, ring, r.shape.queues, r.kills, r.caught, r.lives, r.requests, r.flushes, r.lost, r.stuck, r.twice, r.bad,
		r.stall(0.5), r.stall(0.99), r.stall(1))
}
