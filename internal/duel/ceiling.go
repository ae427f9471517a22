package duel

import (
	"context"
	"fmt"

	"github.com/vublk/vublk/internal/bench"
)

// Ceiling is a contestant: the driver itself, against a device in this process that answers without looking.
type Ceiling struct {
	Label string
	CPU   int // of the device
	// Self: there is no device on another CPU, the driver answers itself.
	Self bool
	// Zeroes: the device fills what is read with zeros, as any back-end must that has nothing else to say.
	Zeroes bool
}

// Name is the label.
func (c *Ceiling) Name() string { return c.Label }

// Command says what it is.
func (c *Ceiling) Command() string {
	if c.Self {
		return "the driver itself, which answers its own requests on its CPU"
	}
	if c.Zeroes {
		return fmt.Sprintf("the driver itself, with a device on CPU %d that fills what is read with zeros and does nothing else", c.CPU)
	}
	return fmt.Sprintf("the driver itself, with a device on CPU %d that answers without looking", c.CPU)
}

// Start has nothing to start.
func (c *Ceiling) Start(context.Context) error { return nil }

// Stop has nothing to stop.
func (c *Ceiling) Stop() error { return nil }

// Turn measures the driver.
func (c *Ceiling) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	if c.Self {
		return bench.SelfLoop(ctx, load)
	}
	if c.Zeroes {
		return bench.CeilingOfZeroes(ctx, load, c.CPU)
	}
	return bench.Ceiling(ctx, load, c.CPU)
}
