package main

import (
	"strconv"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/export"
)

// exportList is the flag --export. Unlike pflag's slices it leaves commas alone.
type exportList []string

func (l *exportList) String() string { return "" }

func (l *exportList) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func (l *exportList) Type() string { return "KEY=VALUE,…" }

// maxWorkers is far beyond any use, and keeps a typing error from starting a million threads.
const maxWorkers = 1024

// workerCount is the flag --workers; 0: not given.
type workerCount int

func (n *workerCount) String() string {
	if *n == 0 {
		return ""
	}
	return strconv.Itoa(int(*n))
}

func (n *workerCount) Set(value string) error {
	parsed, err := strconv.Atoi(value)
	if err != nil || parsed < 1 || parsed > maxWorkers {
		return &export.OptionError{
			Option: "--workers", Value: value, Reason: "not a number of workers", Remedy: "take 1 to " + strconv.Itoa(maxWorkers),
		}
	}
	*n = workerCount(parsed)
	return nil
}

func (n *workerCount) Type() string { return "N" }

// cpuList is the flag --cpus; empty: not given.
type cpuList []int

func (l *cpuList) String() string { return blk.FormatCPUs(*l) }

func (l *cpuList) Set(value string) error {
	cpus, err := blk.ParseCPUs(value)
	if err != nil {
		return &export.OptionError{Option: "--cpus", Value: value, Reason: err.Error(), Remedy: "write numbers and ranges, such as 0-3,8"}
	}
	*l = cpus
	return nil
}

func (l *cpuList) Type() string { return "LIST" }

// pollMode is the flag --poll, which the registry reads.
type pollMode string

func (p *pollMode) String() string { return string(*p) }

func (p *pollMode) Set(value string) error {
	*p = pollMode(value)
	return nil
}

func (p *pollMode) Type() string { return "auto|off|DURATION" }
