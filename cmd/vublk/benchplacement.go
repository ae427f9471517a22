package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/export"
)

// checkCPUs chooses CPUs that were not: apart from each other, if there are enough.
func (f *benchFlags) checkCPUs(p *benchPlan, _ *pflag.FlagSet) error {
	may, err := allowedCPUs()
	if err != nil {
		return err
	}
	for option, list := range map[string][]int{"driver-cpus": f.driverCPUs, "backend-cpus": f.backendCPUs} {
		for _, cpu := range list {
			if !slices.Contains(may, cpu) {
				return &export.OptionError{
					Option: "--" + option, Value: joinInts(list), Reason: fmt.Sprintf("CPU %d is not there for this process", cpu),
					Remedy: "it may run on " + joinInts(may),
				}
			}
		}
	}
	queues := p.load.Queues
	if p.socket != "" || len(may) <= queues {
		return nil
	}
	switch {
	case len(f.driverCPUs) == 0 && len(f.backendCPUs) == 0:
		p.load.CPUs, p.backendCPUs = may[len(may)-queues:], may[:len(may)-queues]
	case len(f.driverCPUs) == 0:
		if free := without(may, f.backendCPUs); len(free) >= queues {
			p.load.CPUs = free[len(free)-queues:]
		}
	case len(f.backendCPUs) == 0:
		p.backendCPUs = without(may, f.driverCPUs)
	}
	return nil
}

func without(list, not []int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(n int) bool { return slices.Contains(not, n) })
}

// allowedCPUs are those that this process may run on.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, errors.Wrap(err, "ask which CPUs are ours")
	}
	var list []int
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// shared are the CPUs that a polling driver takes from the back-end, or nil.
func (p *benchPlan) shared() []int {
	if p.load.Wait != bench.Polling {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.load.CPUs), func(cpu int) bool { return !slices.Contains(p.backendCPUs, cpu) })
}

// procs is how many threads may run Go code: the drivers never wait for Go's scheduler, and whatever else there is to do
// must not wait for them.
func (p *benchPlan) procs() int { return max(runtime.NumCPU(), p.load.Queues+3) }
