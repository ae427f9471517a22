package main

import (
	"io"

	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/cli"
)

// processFlags are what the options of a process that serves were set to.
type processFlags struct {
	workers int
	cpus    []int
	poll    string
	metrics string
	super   *cli.SuperviseOptions
	log     *cli.LogOptions
}

// processGroup is where help shows them.
const processGroup = "Process"

func (f *processFlags) add(flags *pflag.FlagSet) {
	flags.Var((*workerCount)(&f.workers), "workers", "threads that do the I/O of all exports (default: the CPUs we may run on)")
	flags.Var((*cpuList)(&f.cpus), "cpus", "run each worker on a CPU of its own: the first one of this list, the second, …; LIST is like 0-3,8")
	f.poll = "auto"
	flags.Var((*pollMode)(&f.poll), "poll", "how long an idle worker looks for work before it sleeps; DURATION is like 50us")
	cli.Group(flags, processGroup, "workers", "cpus", "poll")
	cli.AddMetrics(flags, &f.metrics)
}

func (f *processFlags) options(stderr io.Writer) cli.ProcessOptions {
	return cli.ProcessOptions{
		Workers: f.workers, CPUs: f.cpus, Poll: f.poll, Metrics: f.metrics, Version: cli.Version(version), Log: f.log, Stderr: stderr,
	}
}
