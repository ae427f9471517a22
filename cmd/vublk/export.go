package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

const exportLong = `Speaks to a 'vublk daemon', which owns the exports of a host: creates, lists, changes and deletes them. The daemon keeps
their definitions, so they are there again after a restart.

An export is one socket, one device and one disk. A command returns when what it asks for is done; one that fails has
changed nothing, and its message says what stands in the way. Exit status: 0 done, 2 nothing was begun, 1 else.`

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Create, change and delete the exports of a daemon",
		Long:  exportLong,
		Example: `  vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=/var/lib/images/vm.raw
  vublk export list
  vublk export resize vm 40GiB
  vublk export delete vm`,
		Args: cli.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Usagef("a command is missing; '%s --help' lists them", cmd.CommandPath())
		},
	}
	cmd.AddCommand(exportCreateCommand(), exportListCommand(), exportShowCommand(), exportResizeCommand(), exportSetCommand(),
		exportDrainCommand(), exportStartCommand(), exportDeleteCommand(), exportClearErrorCommand())
	return cmd
}

// oneName rejects anything but the name of one export.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cli.Usagef("needs the name of one export, such as: %s vm; 'vublk export list' names them", cmd.CommandPath())
	}
	return nil
}

// someNames rejects no name at all.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cli.Usagef("needs the names of exports, such as: %s vm; 'vublk export list' names them", cmd.CommandPath())
	}
	return nil
}

func exportListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List exports, all or those with names that begin so",
		Long: `Lists the daemon's exports in the order of their names: all, or those with names that begin with PREFIX.

TROUBLE is what wants attention: why an export is out of service, a flush that failed, queues that a guest broke.`,
		Example: `  vublk export list
  vublk export list web-
  vublk export list --output=json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Usagef("takes one prefix at most; 'vublk export show NAME' shows one export")
			}
			return nil
		},
	}
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var r vublkv1.ListRequest
		if len(args) == 1 {
			r.NamePrefix = args[0]
		}
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			list, err := c.exports.List(ctx, &r)
			switch {
			case err != nil:
				return err
			case o.json():
				err = writeJSON(cmd.OutOrStdout(), list, true)
			default:
				err = writeExports(cmd.OutOrStdout(), list.GetExports())
			}
			if err != nil {
				return err
			}
			return noteSetAside(ctx, c, cmd.ErrOrStderr())
		})
	}
	return cmd
}

// noteSetAside tells of files in the state directory that the daemon could not believe when it started: nothing lists those
// exports any more.
func noteSetAside(ctx context.Context, c *client, stderr io.Writer) error {
	info, err := c.observe.Info(ctx, &vublkv1.InfoRequest{})
	if err != nil {
		return err
	}
	for _, file := range info.GetSetAside() {
		_, _ = fmt.Fprintf(stderr, "vublk export list: %s: set aside, its export is not served; the daemon's log says why\n", printable(file))
	}
	return nil
}

func exportShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one export: what it is, and how it is",
		Long:    "Shows how an export is, and then its definition by the names that 'vublk export create' and 'vublk export set' take.",
		Example: "  vublk export show vm\n  vublk export show vm --output=json",
		Args:    oneName,
	}
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			got, err := c.exports.Get(ctx, &vublkv1.GetRequest{Name: args[0]})
			switch {
			case err != nil:
				return err
			case o.json():
				return writeJSON(cmd.OutOrStdout(), got.GetExport(), true)
			}
			return writeExport(cmd.OutOrStdout(), got.GetExport())
		})
	}
	return cmd
}

const exportResizeLong = `Changes the size of a disk while its guest uses it: the file becomes SIZE long, then the guest is told. Without SIZE the file
or device has been changed already (lvextend, qemu-img resize), and its size is looked at.

SIZE is a number and a unit of 1024: 512M, 20GiB, 2T. A smaller size loses what lies beyond the new end, and is refused
without --shrink.`

func exportResizeCommand() *cobra.Command {
	var shrink bool
	cmd := &cobra.Command{
		Use:     "resize NAME [SIZE]",
		Short:   "Change the size of a disk while its guest uses it",
		Long:    exportResizeLong,
		Example: "  vublk export resize vm 40GiB\n  # after lvextend or qemu-img resize\n  vublk export resize vm",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return cli.Usagef("needs an export and a size, such as: vublk export resize vm 40GiB")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&shrink, "shrink", false, "a smaller size is meant: what lies beyond the new end is lost")
	o := addClientOptions(cmd.Flags())
	cmd.ValidArgsFunction = o.completeNames(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := &vublkv1.ResizeRequest{Name: args[0], Shrink: shrink}
		if len(args) == 2 {
			n, err := positiveSize("SIZE", args[1])
			if err != nil {
				return err
			}
			r.SizeBytes = n
		}
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			resized, err := c.exports.Resize(ctx, r)
			switch {
			case err != nil:
				return err
			case o.json():
				return writeJSON(cmd.OutOrStdout(), resized, true)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, was %s\n", printable(args[0]), bytesText(resized.GetNewSizeBytes()), bytesText(resized.GetOldSizeBytes()))
			return errors.Wrap(err, "write")
		})
	}
	return cmd
}

// positiveSize reads a size that a disk can have.
func positiveSize(what, text string) (uint64, error) {
	n, err := export.ParseSize(text)
	switch {
	case err != nil:
		return 0, cli.Usage(&export.OptionError{Option: what, Value: text, Reason: err.Error()})
	case n <= 0 || n == math.MaxInt64:
		return 0, cli.Usage(&export.OptionError{Option: what, Value: text, Reason: "no size of a disk", Remedy: "take 1MiB or more"})
	}
	return uint64(n), nil
}
