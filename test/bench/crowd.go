package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// crowd is a contestant: a vublk with many exports, which share a paced load.
type crowd struct {
	duel.Backend
	sockets []string
	rate    float64 // requests a second in all
}

func newCrowd(s *site, dir, label string, exports int) *crowd {
	c := &crowd{rate: 20_000}
	c.Label, c.CPU, c.Log = label, s.backendCPU, filepath.Join(dir, label+".log")
	c.Argv = []string{s.vublk, "serve", "--workers=1", "--log-level=warn"}
	for i := range exports {
		socket := filepath.Join(dir, fmt.Sprintf("%s-%d", label, i))
		c.sockets = append(c.sockets, socket)
		c.Argv = append(c.Argv, fmt.Sprintf("--export=socket-path=%s,store=null:1GiB", socket))
	}
	c.Socket = c.sockets[exports-1]
	return c
}

// Command is the command line with one export, and how many there are.
func (c *crowd) Command() string {
	one := c.Backend
	one.Argv = one.Argv[:len(one.Argv)-len(c.sockets)+1]
	return fmt.Sprintf("%s … (%d exports)", one.Command(), len(c.sockets))
}

// Turn has all exports attached and makes each request on the next one.
func (c *crowd) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	load.BackendPID = c.PID()
	return bench.Fleet(ctx, bench.FleetConfig{Sockets: c.sockets, Rate: c.rate, CPU: load.CPUs[0], Config: load})
}

// crowds compares what a request costs on one export with what it costs on one of many.
func crowds(s *site) []*entry {
	const one, many = "1", 256
	dir := filepath.Join(s.disk, "crowd")
	load := s.load(1)
	load.Wait, load.Duration = bench.Sleeping, 500*time.Millisecond
	e := &entry{dirs: []string{dir}}
	e.Contest = duel.Contest{
		Name: "exports", Title: "Null stores, 1 to 256 exports of one process", Load: load, Rounds: 30, Control: [2]string{one, one + "-again"},
		Contestants: []duel.Contestant{newCrowd(s, dir, one, 1)},
	}
	for n := 16; n <= many; n *= 4 {
		label := fmt.Sprint(n)
		e.Contestants = append(e.Contestants, newCrowd(s, dir, label, n))
		e.Comparisons = append(e.Comparisons, duel.Comparison{Metric: duel.CPUPerRequest, Of: label, To: one, AtMost: 1.15})
	}
	e.Contestants = append(e.Contestants, newCrowd(s, dir, one+"-again", 1))
	e.Note = "All exports together get 20,000 requests a second from one driver, each request by a kick of its own, each on the next export."
	return []*entry{e}
}
