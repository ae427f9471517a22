package bench

import (
	"context"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/virtiotest"
)

// Run connects to the back-end at c.Socket, does what c says, and leaves. It ends early when ctx does.
func Run(ctx context.Context, c Config) (Result, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return Result{}, err
	}
	t, err := connect(&c)
	if err != nil {
		return Result{}, errors.Wrapf(err, "front-end on %s", c.Socket)
	}
	c.ended = t.front.Ended
	g, err := newGauge(&c, t.front.Conn)
	if err != nil {
		_ = t.close(false)
		return Result{}, err
	}
	r, err := drive(ctx, &c, g, t.drivers(), t.sectors)
	if e := t.close(err == nil); err == nil {
		err = e
	}
	return r, errors.Wrapf(err, "bench on %s", c.Socket)
}

// drive runs a loop for each driver until all have ended. g may be nil.
func drive(ctx context.Context, c *Config, g *gauge, drivers []*virtiotest.Driver, sectors uint64) (Result, error) {
	var stop atomic.Bool
	loops, err := newLoops(c, drivers, sectors, &stop)
	if err != nil {
		return Result{}, err
	}
	loops[0].gauge = g
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	ended := make(chan error, len(loops))
	for i, l := range loops {
		cpu := -1
		if len(c.CPUs) > 0 {
			cpu = c.CPUs[i%len(c.CPUs)]
		}
		go func() { ended <- l.live(cpu) }()
	}
	for range loops {
		if e := <-ended; e != nil {
			stop.Store(true)
			if err == nil || errors.Is(err, errStopped) {
				err = e
			}
		}
	}
	switch {
	case err == nil:
		return newResult(loops, c.BlockSize), nil
	case errors.Is(err, errStopped) && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return Result{}, err
}

// newLoops gives each queue its part of the disk for sequential requests, and all of it for random ones.
func newLoops(c *Config, drivers []*virtiotest.Driver, sectors uint64, stop *atomic.Bool) ([]*loop, error) {
	if span := c.Span / SectorSize; c.Span > 0 && span < sectors {
		sectors = span
	}
	perBlock := uint64(c.BlockSize / SectorSize)
	blocks := sectors / perBlock
	parts := uint64(1)
	if c.Mix.Sequential {
		parts = uint64(len(drivers))
	}
	if blocks < parts {
		return nil, errors.Errorf("%d sectors are no room for %d queues with blocks of %d bytes", sectors, len(drivers), c.BlockSize)
	}
	loops := make([]*loop, len(drivers))
	for i, d := range drivers {
		first := uint64(i) % parts * (blocks / parts)
		gen := newGenerator(c.Mix, c.Seed, i, first, blocks/parts, perBlock)
		var err error
		if loops[i], err = newLoop(c, i, d, gen, stop); err != nil {
			return nil, err
		}
	}
	return loops, nil
}

// live is run on the right thread.
func (l *loop) live(cpu int) error {
	undo, err := pin(cpu)
	if err != nil {
		return err
	}
	err = errors.Wrapf(l.run(), "queue %d", l.queue)
	if e := undo(); err == nil {
		err = e
	}
	return err
}
