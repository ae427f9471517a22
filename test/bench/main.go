// Command bench compares vublk with qemu-storage-daemon, side by side in one run: `make bench`.
//
// Back-ends share one CPU and take turns, the driver (internal/bench, polling) has another. Each comparison has an A/A
// control, a second vublk beside the first: a difference smaller than between those two is noise. The limit is on the
// null store, where nothing but software is measured; a sparse file with direct I/O is reported beside it.
//
// It exits with status 1 when the limit is not met and 2 when it cannot measure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/test/e2e/guest"
)

// options are the program's flags.
type options struct {
	runs       int
	duration   time.Duration
	warmup     time.Duration
	depth      int
	limit      float64
	backendCPU int
	driverCPU  int
	dir        string
	vublk      string
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 5, "runs of each back-end; their median counts")
	flag.DurationVar(&o.duration, "duration", time.Second, "measured time of a run")
	flag.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "time before that")
	flag.IntVar(&o.depth, "depth", 32, "requests in flight")
	flag.Float64Var(&o.limit, "limit", 1.5, "least ratio of vublk to qemu-storage-daemon on the null store")
	flag.IntVar(&o.backendCPU, "backend-cpu", 0, "CPU of the back-ends")
	flag.IntVar(&o.driverCPU, "driver-cpu", 1, "CPU of the driver")
	flag.StringVar(&o.dir, "dir", "", "directory of the sparse files (default: the one for temporary files)")
	flag.StringVar(&o.vublk, "vublk", "", "program to measure (default: bin/vublk, which make build makes)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, o); {
	case errors.Is(err, errLimit):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

var errLimit = errors.New("limit not met")

// driver is what the loop does, in every run alike.
func (o options) driver(socket string) bench.Config {
	return bench.Config{
		Socket: socket, Depth: o.depth, Duration: o.duration, Warmup: o.warmup, CPUs: []int{o.driverCPU}, Seed: 1,
	}
}

func run(ctx context.Context, o options) (err error) {
	if n := runtime.NumCPU(); o.runs < 1 || o.backendCPU == o.driverCPU || n < 2 {
		return errors.Errorf("%d runs on CPUs %d and %d of %d: want at least one run and two CPUs", o.runs, o.backendCPU, o.driverCPU, n)
	}
	// The loops never wait for the Go scheduler; whatever else there is to do must not wait for them.
	runtime.GOMAXPROCS(4)
	dir, err := os.MkdirTemp(o.dir, "vublk-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	vublk, err := program(o.vublk)
	if err != nil {
		return err
	}
	m, err := describeMachine(vublk)
	if err != nil {
		return err
	}
	m.print(o)
	best, err := compare(ctx, o, nullStore(dir, vublk))
	if err != nil {
		return err
	}
	if _, err := compare(ctx, o, sparseFile(dir, vublk)); err != nil {
		return err
	}
	if best.ratio() < o.limit {
		return errors.Wrapf(errLimit, "%.2f times qemu-storage-daemon's IOPS, want %.2f", best.ratio(), o.limit)
	}
	fmt.Printf("OK: %.2f times qemu-storage-daemon's IOPS on the null store, the limit is %.2f\n", best.ratio(), o.limit)
	return nil
}

// program finds the vublk to measure: as users build it, not with a test's options.
func program(path string) (string, error) {
	if path == "" {
		repo, err := guest.RepoRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(repo, "bin", "vublk")
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return "", errors.Wrap(err, "no vublk to measure, run make build")
	}
	return path, nil
}

// sparse makes a file of holes and returns its path.
func sparse(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	return path, f.Truncate(diskSize)
}
