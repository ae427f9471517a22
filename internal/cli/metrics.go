package cli

import (
	"sync"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/metrics"
	"github.com/vublk/vublk/vhostuser"
)

// AddMetrics adds the flag that says where metrics are told.
func AddMetrics(flags *pflag.FlagSet, address *string) {
	flags.Var((*metricsAddress)(address), "metrics", "tell Prometheus: serve /metrics, /healthz and /readyz at HOST:PORT, or on the Unix socket PATH")
	Group(flags, "Process", "metrics")
}

type metricsAddress string

func (a *metricsAddress) String() string { return string(*a) }

func (a *metricsAddress) Set(value string) error {
	if err := metrics.CheckAddress(value); err != nil {
		return metricsError(value, err)
	}
	*a = metricsAddress(value)
	return nil
}

func (a *metricsAddress) Type() string { return "ADDRESS" }

func metricsError(address string, err error) error {
	return &export.OptionError{
		Option: "--metrics", Value: address, Reason: oneLine(err), Remedy: "take HOST:PORT such as localhost:9127, or a path such as ./metrics.sock",
	}
}

// teller tells metrics while a process lives.
type teller struct {
	server *metrics.Server
	quit   chan struct{}
	ended  sync.WaitGroup
}

// close ends it.
func (t *teller) close() {
	if t == nil {
		return
	}
	close(t.quit)
	t.ended.Wait()
	t.server.Close()
}

// addressPause is how often an address is tried that another process has.
const addressPause = 100 * time.Millisecond

// tellMetrics begins to tell metrics, if that is wanted; unready and absent are those of metrics.Options. When a predecessor
// has the address until it has handed over, patient waits for that in the background; its guests do not.
func (p *process) tellMetrics(unready func() []string, absent func() []metrics.Absent, patient bool) error {
	address := p.o.Metrics
	if address == "" {
		return nil
	}
	t := &teller{quit: make(chan struct{})}
	p.teller = t
	o := metrics.Options{Source: p.registry, Unready: unready, Absent: absent, Version: p.o.Version, Log: p.log}
	begin := func() error {
		l, err := metrics.Listen(address)
		if err == nil {
			t.server = metrics.Serve(l, o)
			p.log.Info("telling metrics", "address", l.Addr().String())
		}
		return err
	}
	err := begin()
	if patient && isTaken(err) {
		t.ended.Go(func() { t.retry(begin, p) })
		return nil
	}
	if err != nil {
		return Usage(metricsError(address, err))
	}
	return nil
}

func isTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, vhostuser.ErrInUse)
}

// retry tries again until the address is free.
func (t *teller) retry(begin func() error, p *process) {
	tick := time.NewTicker(addressPause)
	defer tick.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-tick.C:
		}
		if err := begin(); err == nil {
			return
		} else if !isTaken(err) {
			p.log.Error("metrics are not told", "error", err)
			return
		}
	}
}
