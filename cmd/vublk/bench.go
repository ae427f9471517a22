package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
)

const benchLong = `Measures a vhost-user-blk back-end: connects as a front-end of its own, without a guest and without QEMU, keeps
requests in flight, and reports how many there were, how long they took, and how much CPU time the back-end used.

--socket measures any back-end that listens there, whoever made it, with the options that it was started with.
--store starts a vublk for the time of the measurement and measures that: on null:SIZE (no disk at all: what the
software costs), mem:SIZE (data is copied), or a raw image or block device. With --compare qemu-storage-daemon
serves the same, and a second vublk, too; they take turns, round by round, so that whatever else the machine does
weighs on all alike. The second vublk is the control: a ratio that is no further from 1 than the one of vublk to
itself shows nothing.

Writes destroy what is on the disk. On anything but a store that was made for the measurement they need
--destroy-data; without it a file is opened read-only.

A polling driver never sleeps, as a guest with a dedicated core and io_uring polling; a sleeping one waits for each
interrupt, as most guests do, and the cost of waking up is part of what is measured. The best figures are those of
a driver and a back-end on CPUs of their own: --driver-cpus, --backend-cpus. --ceiling shows what the driver itself
can do; figures near it say little about the back-end.

Latencies count from the request's being made available to its being taken off the used ring. With several rounds
all figures are medians over the rounds, but for max. CPU/IO is CPU time of the back-end's process, what it polls
and io_uring's threads included. --output=json and csv have the unit of each figure in its name; docs/bench.md
lists the names. Exit status 1 means that something failed or was interrupted, 2 that nothing was begun.`

const benchExample = `  # how fast can it be? no disk, one vublk on its own, depths 1 and 32
  vublk bench --store=null:1GiB

  # the back-end of a disk that is served already; reads only
  vublk bench --socket=vm.sock --depth=1..128

  # side by side with qemu-storage-daemon, with a picture
  vublk bench --store=null:1GiB --compare --depth=1..128 --plot=compare.svg

  # an image, as a guest that sleeps between interrupts sees it
  vublk bench --store=disk.raw --driver=sleeping --depth=1,8,32

  # what a database does: small writes and flushes. The image's content is lost
  vublk bench --store=scratch.raw --destroy-data --rw=randrw --write-percent=30 --flush-percent=5 --bs=8k

  # large sequential reads on four queues, driver and back-end on CPUs of their own
  vublk bench --store=disk.raw --rw=read --bs=1M --depth=4 --queues=4 --driver-cpus=4-7 --backend-cpus=0-3

  # for a program to read: the names have units
  vublk bench --store=mem:256M --rw=randrw --output=json`

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a vhost-user-blk back-end",
		Long:    benchLong,
		Example: benchExample,
		Args:    cli.NoArgs,
	}
	f.add(cmd.Flags())
	f.complete(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := f.plan(cmd.Flags())
		if err != nil {
			return cli.Usage(err)
		}
		signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
		if !signal.Ignored(syscall.SIGHUP) { // nohup(1) means it
			signals = append(signals, syscall.SIGHUP)
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), signals...)
		defer stop()
		r, err := p.measure(ctx, newSweepProgress(os.Stderr))
		if err != nil {
			return logApart(cmd.ErrOrStderr(), err)
		}
		return p.publish(r, cmd.OutOrStdout())
	}
	return cmd
}

// logApart writes all but the first line of an error to w, and returns the first: duel's errors end with a back-end's
// command line and log, which are lines of their own.
func logApart(w io.Writer, err error) error {
	first, rest, found := strings.Cut(err.Error(), "\n")
	if !found {
		return err
	}
	// Nobody may read it; the message that counts is still to come.
	_, _ = fmt.Fprintln(w, strings.TrimSpace(rest))
	return errors.New(first)
}
