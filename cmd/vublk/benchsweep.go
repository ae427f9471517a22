package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/duel"
)

// What the contestants are called.
const (
	vublkName   = "vublk"
	controlName = "vublk (control)"
	socketName  = "back-end"
	ceilingName = "driver's ceiling"
)

// measure measures all depths, one contest each. Whatever it started has ended when it returns, and its files are gone.
func (p *benchPlan) measure(ctx context.Context, progress progress) (r *benchReport, err error) {
	runtime.GOMAXPROCS(p.procs())
	dir, err := os.MkdirTemp("", "vublk-bench-")
	if err != nil {
		return nil, cli.Usage(errors.Wrap(err, "make a directory for sockets"))
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil && e != nil {
			r, err = nil, e
		}
	}()
	type outcome struct {
		report *benchReport
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		r, err := p.sweep(ctx, dir, progress)
		ended <- outcome{r, err}
	}()
	select {
	case o := <-ended:
		r, err = o.report, o.err
	case <-ctx.Done():
		// What we started ends quickly, by itself or because we die. A back-end that is not ours may not answer at all.
		select {
		case <-ended:
		case <-time.After(interruptPatience):
		}
	}
	if ctx.Err() != nil {
		return nil, errors.New("interrupted, nothing was left behind")
	}
	return r, err
}

// interruptPatience is how long the back-ends may take to end after Ctrl-C. Later they die with this process.
const interruptPatience = time.Second

func (p *benchPlan) sweep(ctx context.Context, dir string, progress progress) (*benchReport, error) {
	r := newBenchReport(p)
	contestants, err := p.contestants(dir)
	if err != nil {
		return nil, err
	}
	turn := p.load.Warmup + p.load.Duration
	progress.begin(int64(turn) * int64(len(p.depths)*p.rounds*len(contestants)))
	defer progress.end()
	for i, depth := range p.depths {
		c := &duel.Contest{
			Name: fmt.Sprintf("of depth %d", depth), Load: p.load, Rounds: p.rounds, Contestants: contestants,
			Progress: func(int, int) { progress.add(int64(turn)) },
		}
		c.Load.Depth = depth
		if p.compare {
			c.Control = [2]string{vublkName, controlName}
		}
		report, err := c.Run(ctx)
		if err != nil {
			return nil, blame(err, i == 0)
		}
		r.add(depth, report)
	}
	r.finish()
	return r, nil
}

// beginError is a back-end that cannot be measured at all.
type beginError struct{ error }

// blame makes the caller's mistake of a back-end that cannot be measured, if nothing was measured before.
func blame(err error, first bool) error {
	var b *beginError
	if first && errors.As(err, &b) {
		return cli.Usage(b.error)
	}
	return err
}

// contestants are those who take turns.
func (p *benchPlan) contestants(dir string) ([]duel.Contestant, error) {
	var all []duel.Contestant
	if p.socket != "" {
		all = append(all, &strangerBackend{socket: p.socket})
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, cli.Usage(errors.Wrap(err, "find this program"))
		}
		workers := min(p.load.Queues, max(len(p.backendCPUs), 1))
		if len(p.backendCPUs) == 0 {
			workers = min(p.load.Queues, runtime.NumCPU())
		}
		names := []string{vublkName}
		if p.compare {
			names = []string{vublkName, peerName, controlName}
		}
		for i, name := range names {
			socket := filepath.Join(dir, fmt.Sprintf("%d.sock", i))
			if len(socket) > maxSocketPath {
				return nil, cli.Usagef("TMPDIR=%s: too long for a socket in it; choose a shorter one", filepath.Dir(dir))
			}
			argv := p.store.vublk(self, socket, workers)
			if name == peerName {
				argv = p.store.qemu(p.peer, socket, p.load.Queues)
			}
			all = append(all, p.ownBackend(name, argv, socket))
		}
	}
	if p.ceiling {
		c := &duel.Ceiling{Label: ceilingName, CPU: -1}
		if len(p.backendCPUs) > 0 {
			c.CPU = p.backendCPUs[0]
		}
		all = append(all, c)
	}
	return all, nil
}

// maxSocketPath is the longest path of a Unix socket (unix(7)).
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// ownBackend is a back-end that we start, on its CPUs.
func (p *benchPlan) ownBackend(name string, argv []string, socket string) duel.Contestant {
	b := &duel.Backend{Label: name, Argv: argv, Socket: socket, CPU: -1, Log: strings.TrimSuffix(socket, ".sock") + ".log"}
	switch len(p.backendCPUs) {
	case 0:
	case 1:
		b.CPU = p.backendCPUs[0]
	default:
		b.Argv = append([]string{"taskset", "--cpu-list", joinInts(p.backendCPUs)}, argv...)
	}
	if name != peerName { // whose store in memory drops what is written
		b.Before = p.store.fill()
	}
	own := ownBackend{b}
	if p.compare && p.store.exclusive() {
		return &briefBackend{own}
	}
	return &own
}

// ownBackend says what is wrong when it does not start.
type ownBackend struct{ *duel.Backend }

// Start starts the process. The error is a *beginError: that it does not start is because of what it was told to serve.
func (b *ownBackend) Start(ctx context.Context) error {
	err := b.Backend.Start(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	said := lastLine(b.Log)
	if !strings.HasPrefix(said, "vublk serve: ") && !strings.HasPrefix(said, peerName+": ") { // no last words of its own
		said, _, _ = strings.Cut(err.Error(), "\n")
	}
	return &beginError{errors.Errorf("%s does not start: %s", b.Name(), said)}
}

// lastLine is the last line of a file, or nothing.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// briefBackend runs during its turns only: a file that is written has one user at a time.
type briefBackend struct{ ownBackend }

func (b *briefBackend) Start(context.Context) error { return nil }
func (b *briefBackend) Stop() error                 { return nil }

func (b *briefBackend) Turn(ctx context.Context, load bench.Config) (r bench.Result, err error) {
	if err := b.ownBackend.Start(ctx); err != nil {
		_ = b.ownBackend.Stop() // there is an error to report already
		return bench.Result{}, err
	}
	defer func() {
		if e := b.ownBackend.Stop(); err == nil {
			err = e
		}
	}()
	return b.ownBackend.Turn(ctx, load)
}

// strangerBackend is one that runs already.
type strangerBackend struct{ socket string }

func (b *strangerBackend) Name() string                { return socketName }
func (b *strangerBackend) Command() string             { return "the one that listens on " + b.socket }
func (b *strangerBackend) Start(context.Context) error { return nil }
func (b *strangerBackend) Stop() error                 { return nil }

func (b *strangerBackend) Turn(ctx context.Context, load bench.Config) (bench.Result, error) {
	load.Socket = b.socket
	r, err := bench.Run(ctx, load)
	if errors.Is(err, unix.ECONNREFUSED) {
		err = &beginError{errors.Errorf("--socket=%s: nobody listens there any more; start the back-end anew", b.socket)}
	}
	return r, err
}
