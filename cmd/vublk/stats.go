package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/top"
)

const statsLong = `Shows what a daemon has counted: requests, bytes, errors and latencies by kind of request, for each export, and what its
workers did. Counters begin with 0 when the daemon starts to serve an export and never go back; 'vublk top' shows rates.

With --watch it goes on, once in that time, until it is interrupted. In JSON that is one object a line; latencies are in
there as histograms of nanoseconds, whose buckets are at most 12.5 % wide, so p50 and p99 here are that exact.`

func statsCommand() *cobra.Command {
	var queues bool
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "stats [NAME...]",
		Short: "Show what a daemon has counted",
		Long:  statsLong,
		Example: `  vublk stats
  vublk stats vm --queues
  vublk stats --watch=5s --output=json`,
	}
	cmd.Flags().BoolVar(&queues, "queues", false, "queue by queue, too")
	cmd.Flags().VarP((*durationValue)(&watch), "watch", "", "again and again, with that much time between, 100ms or more")
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		write := func(s *vublkv1.StatsResponse) error {
			if o.json() {
				return writeJSON(cmd.OutOrStdout(), s, watch == 0)
			}
			return writeStats(cmd.OutOrStdout(), s)
		}
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			if watch == 0 {
				s, err := c.observe.Stats(ctx, &vublkv1.StatsRequest{Names: args, Queues: queues})
				if err != nil {
					return err
				}
				return write(s)
			}
			stream, err := c.observe.WatchStats(ctx, &vublkv1.WatchStatsRequest{Names: args, Queues: queues, IntervalNs: int64(watch)})
			for err == nil {
				var s *vublkv1.StatsResponse
				if s, err = stream.Recv(); err == nil {
					err = write(s)
				}
			}
			return untilInterrupted(ctx, err)
		})
	}
	return cmd
}

// untilInterrupted is the end of a stream: that somebody wanted it is no error.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return nil
	}
	return err
}

func writeStats(w io.Writer, s *vublkv1.StatsResponse) error {
	rows := [][]string{{"EXPORT", "STATE", "QUEUE", "IN FLIGHT", "KIND", "REQUESTS", "BYTES", "ERRORS", "UNSUPPORTED", "P50", "P99"}}
	for _, e := range s.GetExports() {
		name, state := printable(e.GetName()), stateText(e.GetState())
		rows = append(rows, queueRows(name, state, "all", e.GetTotal())...)
		for _, q := range e.GetQueues() {
			rows = append(rows, queueRows(name, state, strconv.FormatUint(uint64(q.GetIndex()), 10), q)...)
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	rows = [][]string{{}, {"WORKER", "CPU", "QUEUES", "BUSY", "POLLING", "IDLE", "POLLS WON", "LOST", "ENTERS"}}
	for _, k := range s.GetWorkers() {
		cpu := "-"
		if k.GetCpu() >= 0 {
			cpu = strconv.Itoa(int(k.GetCpu()))
		}
		rows = append(rows, []string{
			fmt.Sprint(k.GetIndex()), cpu, fmt.Sprint(k.GetQueues()), span(k.GetBusyNs()), span(k.GetPollingNs()), span(k.GetIdleNs()),
			fmt.Sprint(k.GetPollsWon()), fmt.Sprint(k.GetPollsLost()), fmt.Sprint(k.GetEnters()),
		})
	}
	return table(w, rows)
}

// queueRows has a row for each kind of request that there was, or one that says that there was none.
func queueRows(name, state, index string, q *vublkv1.QueueStats) (rows [][]string) {
	inFlight := fmt.Sprint(q.GetInFlight())
	for _, k := range []struct {
		name string
		op   *vublkv1.OperationStats
	}{
		{"read", q.GetRead()},
		{"write", q.GetWrite()},
		{"flush", q.GetFlush()},
		{"discard", q.GetDiscard()},
		{"write zeroes", q.GetWriteZeroes()},
		{"other", q.GetOther()},
	} {
		if k.op.GetRequests() == 0 {
			continue
		}
		rows = append(rows, []string{
			name, state, index, inFlight, k.name, fmt.Sprint(k.op.GetRequests()), bytesText(k.op.GetBytes()), fmt.Sprint(k.op.GetErrors()),
			fmt.Sprint(k.op.GetUnsupported()), quantile(k.op.GetLatency(), 0.5), quantile(k.op.GetLatency(), 0.99),
		})
	}
	if rows == nil && index == "all" {
		rows = append(rows, []string{name, state, index, inFlight, "-", "0", "-", "-", "-", "-", "-"})
	}
	return rows
}

// quantile is what the part q of the values does not exceed, if there are any.
func quantile(h *vublkv1.Histogram, q float64) string {
	if d := top.Quantile(h, q); d > 0 {
		return span(uint64(d))
	}
	return "-"
}

// span is a time with three digits or so.
func span(ns uint64) string {
	d := time.Duration(ns)
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
