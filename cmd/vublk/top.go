package main

import (
	"context"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/top"
)

const topLong = `Shows what the exports of a daemon do, as a live table: requests and bytes a second, latency (p50 and p99 of the requests that
were answered in the last interval), requests in flight, worker time per request, state.

Press ? for the keys, q to end. When the output is no terminal, or with --once, it waits for one interval, writes the table as
plain text, and ends; with --count=N it does so N times. A daemon that is restarted is found again.`

func topCommand() *cobra.Command {
	var interval time.Duration
	var sortBy *cli.Choice
	var count int
	var once bool
	cmd := &cobra.Command{
		Use:     "top [NAME...]",
		Short:   "Show what a daemon's exports do, live",
		Long:    topLong,
		Example: "  vublk top\n  vublk top --sort=p99 --interval=2s\n  vublk top --once",
	}
	names := top.ColumnNames()
	sortBy = cli.AddChoice(cmd.Flags(), "sort", "the column to sort by", "iops", names...)
	interval = time.Second
	cmd.Flags().VarP((*durationValue)(&interval), "interval", "", "time between two looks, 100ms or more")
	cmd.Flags().BoolVar(&once, "once", false, "write the table once, as text")
	cmd.Flags().IntVar(&count, "count", 0, "write the table so many times, as text")
	o := addDaemonOption(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := &vublkv1.WatchStatsRequest{Names: args, Queues: true, IntervalNs: int64(interval)} // cost is by worker, which queues know
		if once {
			count = 1
		}
		if count > 0 || !isTerminal(os.Stdout) {
			return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
				return writeTables(ctx, c, r, max(count, 1), sortBy.String(), cmd)
			})
		}
		return o.screen(cmd, r, top.NewScreen(o.socket, sortBy.String()))
	}
	return cmd
}

// writeTables writes a table for each of count intervals.
func writeTables(ctx context.Context, c *client, r *vublkv1.WatchStatsRequest, count int, by string, cmd *cobra.Command) error {
	stream, err := c.observe.WatchStats(ctx, r)
	if err != nil {
		return err
	}
	before, err := stream.Recv()
	for err == nil && count > 0 {
		var after *vublkv1.StatsResponse
		if after, err = stream.Recv(); err != nil {
			break
		}
		if t, ok := top.NewTable(before, after); ok {
			err = t.Write(cmd.OutOrStdout(), time.Unix(0, after.GetTimeUnixNs()), by)
			count--
		}
		before = after
	}
	return untilInterrupted(ctx, err)
}

// reconnectPause is between attempts to find the daemon again.
const reconnectPause = time.Second

// screen shows the live table until the operator ends it. A daemon that is not there at first is an error at once.
func (o *clientOptions) screen(cmd *cobra.Command, r *vublkv1.WatchStatsRequest, s *top.Screen) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	c, err := o.dial(ctx)
	if err != nil {
		return err
	}
	p := tea.NewProgram(s, tea.WithContext(ctx))
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for {
			p.Send(top.Sample{Err: errors.New(inOneLine(o.explain(feed(ctx, c, r, p))))})
			for c = nil; c == nil; c, _ = o.dial(ctx) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(reconnectPause):
				}
			}
		}
	}()
	_, err = p.Run()
	cancel()
	<-fed
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return errors.Wrap(err, "show the table")
}

// feed passes samples on until the stream ends.
func feed(ctx context.Context, c *client, r *vublkv1.WatchStatsRequest, p *tea.Program) error {
	defer c.close()
	stream, err := c.observe.WatchStats(ctx, r)
	for err == nil {
		var s *vublkv1.StatsResponse
		if s, err = stream.Recv(); err == nil {
			p.Send(top.Sample{Stats: s})
		}
	}
	return err
}

// inOneLine is err without line breaks.
func inOneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
