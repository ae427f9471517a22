package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

const eventsLong = `Writes what happens to the exports of a daemon, from now on, until it is interrupted: one event a line. The first line says
that it has begun; nothing that happens later is missed, unless so many lines wait that the daemon gives up (1,024): then
it ends with an error.`

func eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events [NAME...]",
		Short: "Write what happens to a daemon's exports",
		Long:  eventsLong,
		Example: `  vublk events
  vublk events vm --output=json`,
	}
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			stream, err := c.observe.Events(ctx, &vublkv1.EventsRequest{Names: args})
			for err == nil {
				var e *vublkv1.Event
				if e, err = stream.Recv(); err == nil {
					err = writeEvent(cmd.OutOrStdout(), e, o.json())
				}
			}
			return untilInterrupted(ctx, err)
		})
	}
	return cmd
}

func writeEvent(w io.Writer, e *vublkv1.Event, json bool) error {
	if json {
		return writeJSON(w, e, false)
	}
	what := strings.ToLower(strings.TrimPrefix(e.GetKind().String(), "EVENT_KIND_"))
	if e.GetKind() == vublkv1.EventKind_EVENT_KIND_STATE {
		what = stateText(e.GetState())
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", clock(e.GetTimeUnixNs()), orDash(e.GetName()), what, printable(e.GetMessage()))
	return errors.Wrap(err, "write")
}
