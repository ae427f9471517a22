package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/control"
	"github.com/vublk/vublk/internal/export"
)

const exportCreateLong = `Makes a new export and serves it. The options are those of 'vublk serve'; the daemon keeps them, and serves the export
again after a restart.

NAME is what the other commands call it: 1 to 255 bytes without control characters. Default: the file name of the socket
without its ending. Relative paths are meant from here.

It returns when front-ends can connect. An image that another process has locked is waited for, up to --lock-timeout.
When anything fails, nothing is left: no definition, no socket, and no image that --create-size made.`

func exportCreateCommand() *cobra.Command {
	d := export.NewDefinition()
	var size diskSize
	cmd := &cobra.Command{
		Use:   "create [NAME] --socket-path=PATH --blk-file=FILE",
		Short: "Make a new export",
		Long:  exportCreateLong,
		Example: `  vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=/var/lib/images/vm.raw
  vublk export create vm --socket-path=/run/vublk/vm.sock --blk-file=/var/lib/images/vm.raw --create-size=20GiB
  vublk export create iso --socket-path=/run/vublk/iso.sock --blk-file=debian.iso --read-only`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Usagef("unexpected argument %q: one export is made at a time", args[1])
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cli.AddOptions(cmd.Flags(), &d, func(o export.Option) bool { return o.Key != "fd" && o.Key != "name" })
	cmd.Flags().Var(&size, "create-size", "make the image, sparse and of this size, when there is no file; one that is there is never changed")
	cli.Group(cmd.Flags(), export.GroupDisk, "create-size")
	o := addClientOptions(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			d.Name = args[0]
		}
		r, err := createRequest(d, uint64(size))
		if err != nil {
			return err
		}
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			made, err := c.exports.Create(ctx, r)
			switch {
			case err != nil:
				return err
			case o.json():
				return writeJSON(cmd.OutOrStdout(), made.GetExport(), true)
			}
			e := made.GetExport()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s at %s, %s\n", printable(e.GetDefinition().GetName()), stateText(e.GetState()),
				whereMet(e.GetDefinition()), sizeText(e.GetCapacityBytes()))
			return errors.Wrap(err, "write")
		})
	}
	return cmd
}

// createRequest checks what can be checked here, so that a mistake needs no daemon to be found.
func createRequest(d export.Definition, size uint64) (*vublkv1.CreateRequest, error) {
	for _, path := range []*string{&d.Socket.Path, &d.Socket.Connect, &d.Disk.File} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, cli.Usage(errors.Wrap(err, "where are we"))
		}
		*path = absolute
	}
	if d.Name == "" {
		d.Name = d.DefaultName()
	}
	if err := cli.Check("--", d); err != nil {
		return nil, err
	}
	return &vublkv1.CreateRequest{Definition: control.ProtoOf(&d), CreateSizeBytes: size}, nil
}

// diskSize is a flag that is a size a disk can have; 0: not given.
type diskSize uint64

func (s *diskSize) String() string {
	if *s == 0 {
		return ""
	}
	return bytesText(uint64(*s))
}
func (s *diskSize) Type() string { return "SIZE" }

// Set implements pflag.Value.
func (s *diskSize) Set(text string) error {
	n, err := positiveSize("--create-size", text)
	*s = diskSize(n)
	return err
}
