package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

// sectorSize is what an image must be a multiple of: virtio-blk counts its capacity in sectors of 512 bytes.
const sectorSize = 512

const createLong = `Makes a raw image, readable and writable by its owner only.

Without --preallocate the file is sparse: it takes room as the guest writes. With it the room is taken now, so
that the guest cannot run out of it later; where the file system has no way to do that, zeroes are written.

The file appears under its name when it is complete, so a failure or Ctrl-C leaves nothing behind, and with
--force the old image stays until then. SIZE is a number and a unit of 1024: 512M, 20GiB, 2T.`

const createExample = `  vublk create disk.raw 20GiB
  vublk create disk.raw 20GiB --preallocate
  vublk create --force disk.raw 512M`

func createCommand() *cobra.Command {
	var preallocate, force bool
	cmd := &cobra.Command{
		Use:     "create FILE SIZE",
		Short:   "Make a raw image",
		Long:    createLong,
		Example: createExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return cli.Usagef("needs a file and a size, such as: vublk create disk.raw 20GiB")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			size, err := imageSize(args[1])
			if err != nil {
				return cli.Usage(err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			i := newImage{path: args[0], size: size, preallocate: preallocate, force: force, progress: newProgress(os.Stderr)}
			if err := i.make(ctx); err != nil {
				return err
			}
			kind := "sparse"
			if preallocate {
				kind = "preallocated"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s\n", args[0], export.FormatSize(size), kind)
			return err
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return []string{"10GiB", "20GiB", "100GiB"}, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&preallocate, "preallocate", false, "take the room on the disk now")
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	return cmd
}

// imageSize reads a size that an image can have.
func imageSize(text string) (int64, error) {
	n, err := export.ParseSize(text)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, &export.OptionError{Option: "SIZE", Value: text, Reason: "an image of no bytes is of no use", Remedy: "take 1MiB or more"}
	}
	if below := n / sectorSize * sectorSize; below != n {
		nearest := below
		if n-below >= sectorSize/2 || below == 0 {
			nearest = below + sectorSize
		}
		return 0, &export.OptionError{
			Option: "SIZE", Value: text, Reason: "not a whole number of 512-byte sectors", Remedy: fmt.Sprintf("the nearest is %d", nearest),
		}
	}
	return n, nil
}
