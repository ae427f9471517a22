package duel

import (
	"context"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
)

// Probe looks, before and after each round, how fast the driver and a device that does nothing exchange requests. Who
// has two cores of one chip to himself sees the same figure again and again. A virtual machine's host moves its CPUs
// together and apart, to where a cache line takes three times as long from one to the other, as it likes: then nothing
// but that is measured, whoever's turn it is. A round counts when both looks around it find near what the probe has found
// best; else it is held again. The contestants have no part in that decision.
//
// Several contests may share a probe; what it has found best is of all of them.
type Probe struct {
	BackendCPU, DriverCPU int

	best float64 // requests a second
	look func(context.Context) (float64, error)
}

// Parameters of the probe.
const (
	probeDuration = 25 * time.Millisecond
	probeDepth    = 32
	nearly        = 0.7 // of the best
	// patience is how many rounds are held for one that is wanted, before the machine is given up.
	patience = 6
)

// ErrDisturbed says that too few rounds were left.
var ErrDisturbed = errors.New("the machine's CPUs were apart, or somebody else's, most of the time")

func (p *Probe) measure(ctx context.Context) (float64, error) {
	if p == nil {
		return 0, nil
	}
	look := p.look
	if look == nil {
		look = p.exchange
	}
	found, err := look(ctx)
	p.best = max(p.best, found)
	return found, errors.Wrap(err, "probe")
}

func (p *Probe) exchange(ctx context.Context) (float64, error) {
	r, err := bench.Ceiling(ctx, bench.Config{Depth: probeDepth, Duration: probeDuration, CPUs: []int{p.DriverCPU}}, p.BackendCPU)
	return r.IOPS, err
}

// fair tells whether what was found around a round is good enough, by what is known now.
func (p *Probe) fair(found float64) bool { return p == nil || found >= nearly*p.best }
