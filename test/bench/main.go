// Command bench is the standard set of measurements, `make bench`: vublk beside qemu-storage-daemon, fio and itself, taking
// turns in one sitting (internal/duel). It prints each contest's medians and ratios, the control beside them, and which
// limits hold; with -document it writes them into docs/performance.md, which tells how all this is measured.
//
// It exits with status 1 when a limit does not hold or a ratio has fallen below the recorded one, and with 2 when
// something could not be measured. Either way all that can be measured is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// options are the program's flags.
type options struct {
	only       string
	rounds     int
	duration   time.Duration
	dry        bool
	record     bool
	recorded   string
	document   string
	backendCPU int
	driverCPU  int
	dir        string
	tmpfs      string
	vublk      string
	qemu       string
	fio        string
}

func parse() options {
	var o options
	flag.StringVar(&o.only, "only", "", "hold the contests whose name matches this regular `expression`")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each contest (default: as many as the contest wants)")
	flag.DurationVar(&o.duration, "duration", 0, "measured time of a turn (default: what the contest wants)")
	flag.BoolVar(&o.dry, "dry", false, "print contests, command lines and limits, and measure nothing")
	flag.BoolVar(&o.record, "record", false, "write the ratios into the file of -recorded, instead of comparing with them")
	flag.StringVar(&o.recorded, "recorded", "docs/performance.json", "`file` of the ratios that must not fall")
	flag.StringVar(&o.document, "document", "", "write the results into this `file`, between its markers; of the whole set only")
	flag.IntVar(&o.backendCPU, "backend-cpu", 0, "CPU of the back-ends, and of fio")
	flag.IntVar(&o.driverCPU, "driver-cpu", 1, "CPU of the driver")
	flag.StringVar(&o.dir, "dir", "", "`directory` for files on a disk, ext4 (default: the one for temporary files)")
	flag.StringVar(&o.tmpfs, "tmpfs", "", "`directory` on a tmpfs (default: /dev/shm, or one that is mounted for root)")
	flag.StringVar(&o.vublk, "vublk", "bin/vublk", "`program` to measure, which make build makes")
	flag.StringVar(&o.qemu, "qemu", "qemu-storage-daemon", "`program` to compare with")
	flag.StringVar(&o.fio, "fio", "fio", "`program` to compare with")
	flag.Parse()
	return o
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, parse()); {
	case errors.Is(err, errLimit):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

var errLimit = errors.New("limits do not hold")

func (o *options) check() (*regexp.Regexp, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, errors.Wrap(err, "-only")
	}
	switch n := runtime.NumCPU(); {
	case n < 2 || o.backendCPU == o.driverCPU || o.backendCPU < 0 || o.driverCPU < 0:
		return nil, errors.Errorf("back-ends on CPU %d and the driver on CPU %d of %d: want two CPUs", o.backendCPU, o.driverCPU, n)
	case o.rounds < 0 || o.duration < 0:
		return nil, errors.New("-rounds and -duration are positive")
	case o.document != "" && (o.only != "" || o.rounds > 0 || o.duration > 0):
		return nil, errors.New("-document is for the whole standard set: it goes without -only, -rounds and -duration")
	case flag.NArg() > 0:
		return nil, errors.Errorf("what is %q? there are options only, see -help", flag.Arg(0))
	}
	return only, nil
}

func run(ctx context.Context, o options) (err error) {
	only, err := o.check()
	if err != nil {
		return err
	}
	// The loops never wait for the Go scheduler; whatever else there is to do must not wait for them.
	runtime.GOMAXPROCS(4)
	s, err := newSite(o)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.close(); err == nil {
			err = e
		}
	}()
	entries := standard(s, only)
	if len(entries) == 0 {
		return errors.Errorf("no contest's name matches %s", o.only)
	}
	if o.dry {
		printDry(os.Stdout, s, entries)
		return nil
	}
	m, err := describeMachine(s)
	if err != nil {
		return err
	}
	memory, err := readRecords(o.recorded)
	if err != nil {
		return err
	}
	m.write(os.Stdout)
	for i, e := range entries {
		fmt.Fprintf(os.Stderr, "[%d/%d] %s, about %v\n", i+1, len(entries), e.Name, e.takes().Round(time.Second))
		e.hold(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !o.record {
			e.compare(memory.of(m.peer()))
		}
		e.write(os.Stdout, s)
	}
	return finish(o, s, m, memory, entries)
}

// finish sums up, and writes what is to be kept.
func finish(o options, s *site, m machine, memory *records, entries []*entry) error {
	fmt.Println("## Summary")
	fmt.Println()
	writeSummary(os.Stdout, entries)
	if o.record {
		for _, e := range entries {
			e.keep(memory.of(m.peer()))
		}
		if err := memory.write(o.recorded); err != nil {
			return err
		}
	}
	if o.document != "" {
		if err := writeDocument(o.document, s, m, entries); err != nil {
			return err
		}
	}
	return verdict(entries)
}

// verdict is the program's end.
func verdict(entries []*entry) error {
	var missed, failed int
	for _, e := range entries {
		if e.err != nil {
			failed++
		}
		for _, r := range e.ratios {
			if !r.Held() || r.fallen {
				missed++
			}
		}
	}
	switch {
	case failed > 0:
		return errors.Errorf("%d of %d contests could not be held (see above); %d limits of the others do not hold", failed, len(entries), missed)
	case missed > 0:
		return errors.Wrapf(errLimit, "%d ratios fall short", missed)
	}
	return nil
}
