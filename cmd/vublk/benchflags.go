package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/cli"
)

// benchFlags are what the options of bench were set to.
type benchFlags struct {
	socket, store    string
	compare, ceiling bool
	destroy          bool

	rw, driver                 *cli.Choice
	writePercent, flushPercent int
	depths                     []int
	blockSize, span            int64
	load                       bench.Config // what flags write into directly
	driverCPUs, backendCPUs    []int
	seed                       int

	rounds int
	output *cli.Choice
	plot   string
}

// The values of --output and --driver.
const (
	outputTable    = "table"
	outputJSON     = "json"
	outputCSV      = "csv"
	driverPolling  = "polling"
	driverSleeping = "sleeping"
)

// Defaults and bounds of what the load generator does not bound itself.
const (
	defaultCompareRounds = 5
	maxRounds            = 1000
	maxRuntime           = 24 * time.Hour
	minRuntime           = 10 * time.Millisecond
	defaultBlockSize     = 4096
)

func (f *benchFlags) add(flags *pflag.FlagSet) {
	f.addTarget(flags)
	f.addLoad(flags)
	f.addDriver(flags)

	const run = "Measurement"
	f.load.Duration, f.load.Warmup, f.rounds = time.Second, 200*time.Millisecond, 1
	flags.Var(durationFlag("runtime", &f.load.Duration, minRuntime, maxRuntime), "runtime", "measured time of a round")
	flags.Var(durationFlag("warmup", &f.load.Warmup, 0, maxRuntime), "warmup", "time of the same load before it")
	flags.Var(countFlag("rounds", "N", &f.rounds, 1, maxRounds), "rounds", "measurements of each depth, of which the median counts; 5 with --compare")
	flags.BoolVar(&f.ceiling, "ceiling", false, "measure the driver itself, too, against a device in this process that answers without looking")
	cli.Group(flags, run, "runtime", "warmup", "rounds", "ceiling")

	const output = "Output"
	f.output = cli.AddChoice(flags, "output", "how to write it", outputTable, outputTable, outputJSON, outputCSV)
	flags.Var(textFlag("FILE.svg|FILE.png", &f.plot), "plot", "draw IOPS and p99 latency over the depth into this file")
	cli.Group(flags, output, "output", "plot")
}

func (f *benchFlags) addTarget(flags *pflag.FlagSet) {
	const target = "What to measure"
	flags.Var(textFlag("PATH", &f.socket), "socket", "the back-end that listens on this Unix socket")
	flags.Var(textFlag("STORE", &f.store), "store", "a vublk of its own on null:SIZE, mem:SIZE, or this image or block device")
	flags.BoolVar(&f.compare, "compare", false, "with --store: qemu-storage-daemon and a second vublk on the same, in turns")
	flags.BoolVar(&f.destroy, "destroy-data", false, "write, although that destroys what is on the disk")
	cli.Group(flags, target, "socket", "store", "compare", "destroy-data")
}

func (f *benchFlags) addLoad(flags *pflag.FlagSet) {
	const load = "Load"
	f.depths, f.blockSize, f.load.Queues, f.seed = []int{1, 32}, defaultBlockSize, 1, 1
	f.rw = cli.AddChoice(flags, "rw", "random or sequential reads, writes or both (half of each), or flushes only", "randread",
		"randread", "randwrite", "randrw", "read", "write", "rw", "flush")
	flags.Var(countFlag("write-percent", "0-100", &f.writePercent, 0, 100), "write-percent", "share of the writes with --rw=randrw or rw")
	flags.Var(countFlag("flush-percent", "0-100", &f.flushPercent, 0, 100), "flush-percent", "share of all requests that are flushes")
	flags.Var(sizeFlag("bs", &f.blockSize, bench.SectorSize, bench.MaxBlockSize, bench.SectorSize), "bs", "bytes of a read or write")
	flags.Var(depthFlag("depth", &f.depths), "depth", "requests in flight per queue, one measurement each: 1,2,4 or 1..128, which doubles")
	flags.Var(countFlag("queues", "N", &f.load.Queues, 1, bench.MaxQueues), "queues", "queues, each with a thread of the driver")
	flags.Var(sizeFlag("span", &f.span, bench.SectorSize, maxSpan, bench.SectorSize), "span", "use only this much of the disk, from its begin (default: all)")
	flags.Var(countFlag("seed", "N", &f.seed, 0, maxSeed), "seed", "of the random choices: the same one makes the same requests")
	cli.Group(flags, load, "rw", "write-percent", "flush-percent", "bs", "depth", "queues", "span", "seed")
}

func (f *benchFlags) addDriver(flags *pflag.FlagSet) {
	const driver = "Driver"
	f.load.Batch = defaultBatch
	f.driver = cli.AddChoice(flags, "driver", "look for completions all the time, or sleep until the back-end interrupts", driverPolling,
		driverPolling, driverSleeping)
	flags.Var(countFlag("batch", "N", &f.load.Batch, 1, bench.MaxDepth), "batch",
		"requests made available at once when there are several to make; 1: each on its own")
	flags.BoolVar(&f.load.Packed, "packed", false, "packed rings instead of split ones")
	flags.BoolVar(&f.load.Indirect, "indirect", false, "each request in an indirect descriptor table, as Linux makes them")
	flags.BoolVar(&f.load.NoEventIdx, "no-event-idx", false, "do not negotiate EVENT_IDX: notifications are on or off")
	flags.Var(cpuFlag("driver-cpus", &f.driverCPUs), "driver-cpus",
		"CPUs of the driver, one queue after the other (default: the last ones, when there are enough and the back-end is ours)")
	flags.Var(cpuFlag("backend-cpus", &f.backendCPUs), "backend-cpus", "CPUs of the back-ends that are started (default: those that the driver leaves)")
	cli.Group(flags, driver, "driver", "batch", "packed", "indirect", "no-event-idx", "driver-cpus", "backend-cpus")
}

// complete offers the shell what can be listed.
func (f *benchFlags) complete(cmd *cobra.Command) {
	for flag, values := range map[string][]string{
		"rw":     {"randread", "randwrite", "randrw", "read", "write", "rw", "flush"},
		"driver": {driverPolling, driverSleeping},
		"output": {outputTable, outputJSON, outputCSV},
		"bs":     {"4k", "64k", "1M"},
		"depth":  {"1,32", "1..128"},
	} {
		// It fails only for a flag that does not exist or has completions, which the tests would show.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
