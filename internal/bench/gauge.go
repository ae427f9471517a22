package bench

import (
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// gauge measures the back-end while the loop of the first queue measures itself. That loop calls it.
type gauge struct {
	meter         *Meter // nil: nothing is measured
	before, after Usage
	from, to      time.Duration // CPU time when the measured part began and ended
}

// settle is how long before the measured part the context switches are read. It takes a while, and the latencies of what
// is in flight meanwhile must not count.
const settle = 2 * time.Millisecond

// newGauge finds the process to measure: the one that the caller names, or the one that listens to the socket. Of a
// socket that came from a process that is gone (a supervised vublk's, after its worker has died) the kernel knows only
// that one; nothing is measured then.
func newGauge(c *Config, conn *vhostusertest.Conn) (*gauge, error) {
	switch {
	case c.BackendPID < 0:
		return &gauge{}, nil
	case c.BackendPID > 0:
		m, err := NewMeter(c.BackendPID)
		return &gauge{meter: m}, errors.Wrap(err, "back-end")
	}
	pid, err := conn.PeerPID()
	if err != nil {
		return nil, err
	}
	m, err := NewMeter(pid)
	if err != nil {
		m = nil
	}
	return &gauge{meter: m}, nil
}

// ready is called shortly before the measured part, begin and end at its ends, close when the clock has stopped.
func (g *gauge) ready() (err error) {
	if g.meter != nil {
		g.before, err = g.meter.Read()
	}
	return err
}

func (g *gauge) begin() (err error) {
	if g.meter != nil {
		g.from, err = g.meter.CPU()
	}
	return err
}

func (g *gauge) end() (err error) {
	if g.meter != nil {
		g.to, err = g.meter.CPU()
	}
	return err
}

func (g *gauge) close() (err error) {
	if g.meter != nil {
		g.after, err = g.meter.Read()
	}
	return err
}

// report writes what was measured into r. elapsed is the measured time of the loop that called: with several queues the
// others' differs by what the scheduler does, so CPU time per request is made of two rates.
func (g *gauge) report(r *Result, elapsed time.Duration) {
	if g.meter == nil || elapsed <= 0 {
		return
	}
	r.BackendPID = g.meter.PID()
	r.Backend = g.after.Sub(g.before)
	r.BackendCPU = g.to - g.from
	if r.IOPS > 0 {
		r.CPUPerRequest = time.Duration(float64(r.BackendCPU) / elapsed.Seconds() / r.IOPS)
	}
}
