package main

import (
	"context"
	"fmt"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

const exportDrainLong = `Takes exports out of service: requests in flight end, everything is flushed, the front-end is disconnected, the socket is
removed, the image is closed and unlocked. The definition stays, and the export stays out of service over restarts of the
daemon, until 'vublk export start'.

This is how to get at an image for a backup, a repair or a copy.`

// eachName does something to one export after the other, and goes on after an error.
func eachName(o *clientOptions, cmd *cobra.Command, names []string, do func(context.Context, *client, string) (string, error)) error {
	return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
		var failed error
		failures := 0
		for _, name := range names {
			said, err := do(ctx, c, name)
			switch {
			case err == nil && said == "":
			case err == nil:
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", printable(name), said)
				err = errors.Wrap(err, "write")
			case len(names) > 1 && ctx.Err() == nil:
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", printable(name), inOneLine(o.explain(err)))
			}
			if err != nil {
				failures++
				failed = err
			}
			if ctx.Err() != nil || errors.Is(err, ttrpc.ErrClosed) {
				break
			}
		}
		if len(names) > 1 && failures > 0 && ctx.Err() == nil {
			if failures < len(names) { // so it is not true that nothing was begun
				return errors.Errorf("%d of %d failed, as said above", failures, len(names))
			}
			return status.Errorf(status.Code(failed), "%d of %d failed, as said above", failures, len(names))
		}
		return failed
	})
}

// stateCommand is a command that takes exports to another state.
func stateCommand(use, short, long, example string, do func(context.Context, *client, string) (*vublkv1.Export, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: someNames}
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return eachName(o, cmd, args, func(ctx context.Context, c *client, name string) (string, error) {
			e, err := do(ctx, c, name)
			if err == nil && o.json() {
				return "", writeJSON(cmd.OutOrStdout(), e, len(args) == 1)
			}
			return stateText(e.GetState()), err
		})
	}
	return cmd
}

func exportDrainCommand() *cobra.Command {
	return stateCommand("drain NAME...", "Take exports out of service", exportDrainLong,
		"  vublk export drain vm\n  # cp --reflink=auto /var/lib/images/vm.raw /backup/\n  vublk export start vm",
		func(ctx context.Context, c *client, name string) (*vublkv1.Export, error) {
			r, err := c.exports.Drain(ctx, &vublkv1.DrainRequest{Name: name})
			return r.GetExport(), err
		})
}

func exportStartCommand() *cobra.Command {
	return stateCommand("start NAME...", "Serve exports again that were drained, or have failed",
		"Serves exports again that 'vublk export drain' took out of service, or that could not be served. One that is served is left\nalone. It returns when front-ends can connect.",
		"  vublk export start vm",
		func(ctx context.Context, c *client, name string) (*vublkv1.Export, error) {
			r, err := c.exports.Start(ctx, &vublkv1.StartRequest{Name: name})
			return r.GetExport(), err
		})
}

const exportDeleteLong = `Drains exports and forgets their definitions. The images stay as they are.

A front-end that is connected would lose its disk: that is refused without --force.`

func exportDeleteCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete NAME...", Short: "Delete exports; images stay", Long: exportDeleteLong,
		Example: "  vublk export delete vm\n  vublk export delete vm1 vm2 --force", Args: someNames,
	}
	cmd.Flags().BoolVar(&force, "force", false, "a front-end that is connected may lose its disk")
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return eachName(o, cmd, args, func(ctx context.Context, c *client, name string) (string, error) {
			r, err := c.exports.Delete(ctx, &vublkv1.DeleteRequest{Name: name, Force: force})
			if err == nil && o.json() {
				return "", writeJSON(cmd.OutOrStdout(), r, len(args) == 1)
			}
			return "deleted", err
		})
	}
	return cmd
}

const exportClearErrorLong = `Lets flushes of exports be tried again after one has failed.

When a flush fails, writes that the guest believes to be safe may be lost, and no later flush can bring them back: so all
later ones fail, too, and the guest sees a broken disk. Clear the error when that is dealt with: the disk is repaired, and
the guest's file system was checked.`

func exportClearErrorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "clear-error NAME...", Short: "Let flushes be tried again after one has failed", Long: exportClearErrorLong,
		Example: "  vublk export clear-error vm", Args: someNames,
	}
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1 << 20)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return eachName(o, cmd, args, func(ctx context.Context, c *client, name string) (string, error) {
			r, err := c.exports.ClearError(ctx, &vublkv1.ClearErrorRequest{Name: name})
			switch {
			case err == nil && o.json():
				return "", writeJSON(cmd.OutOrStdout(), r, len(args) == 1)
			case r.GetCleared():
				return "flushes are tried again", err
			}
			return "no flush had failed", err
		})
	}
	return cmd
}
