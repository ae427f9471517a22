package bench

import (
	"context"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// ceilingSectors is the size of the disk that is not there: 1 GiB.
const ceilingSectors = 1 << 21

// SelfLoop measures the generator itself: c with polling drivers, each of which, when nothing is complete, answers its
// chains by itself. What comes out is how fast the driver could be if completions cost nothing but to be seen.
func SelfLoop(ctx context.Context, c Config) (Result, error) {
	c.self = true
	return ceiling(c, func(c *Config, drivers []*virtiotest.Driver) (Result, error) {
		return drive(ctx, c, nil, drivers, ceilingSectors)
	})
}

// Ceiling measures c with polling drivers against a device on CPU deviceCPU (negative: any) that answers each chain without
// reading the request. It costs what any device costs the driver, the cache lines that move between two CPUs included,
// and nothing more.
func Ceiling(ctx context.Context, c Config, deviceCPU int) (Result, error) {
	return ceiling(c, func(c *Config, drivers []*virtiotest.Driver) (Result, error) {
		return driveEcho(ctx, c, drivers, deviceCPU, false)
	})
}

// CeilingOfZeroes is Ceiling with a device that fills what is read with zeros: the bound for any back-end that does. Split
// rings without indirect tables only.
func CeilingOfZeroes(ctx context.Context, c Config, deviceCPU int) (Result, error) {
	if c.Packed || c.Indirect {
		return Result{}, errors.New("zeroes: split rings without indirect tables only")
	}
	return ceiling(c, func(c *Config, drivers []*virtiotest.Driver) (Result, error) {
		return driveEcho(ctx, c, drivers, deviceCPU, true)
	})
}

// ceiling makes what run needs.
func ceiling(c Config, run func(*Config, []*virtiotest.Driver) (Result, error)) (Result, error) {
	c.setDefaults()
	c.NoEventIdx, c.Wait = true, Polling
	if err := c.check(); err != nil {
		return Result{}, err
	}
	m, err := virtiotest.NewMemory(virtiotest.RAM(c.memoryFor()))
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = m.Close() }() // last: nobody uses it any more
	var drivers []*virtiotest.Driver
	defer func() {
		for _, d := range drivers {
			_ = d.Close() // eventfds that nobody else has
		}
	}()
	for i := range c.Queues {
		d, err := virtiotest.NewDriver(m, virtiotest.Options{Index: i, Size: c.ringSize(), Features: c.features(), TableLen: tableLen})
		if err != nil {
			return Result{}, err
		}
		drivers = append(drivers, d)
	}
	return run(&c, drivers)
}

func driveEcho(ctx context.Context, c *Config, drivers []*virtiotest.Driver, cpu int, zeroes bool) (Result, error) {
	var quit atomic.Bool
	ended := make(chan error, 1)
	var echoes []*echo
	for _, d := range drivers {
		e := newEcho(d, c.features().Has(virtio.FeatureRingPacked))
		e.zeroes = zeroes
		echoes = append(echoes, e)
	}
	go func() { ended <- serveEchoes(echoes, cpu, &quit) }()
	r, err := drive(ctx, c, nil, drivers, ceilingSectors)
	quit.Store(true)
	if e := <-ended; err == nil {
		err = e
	}
	return r, err
}
