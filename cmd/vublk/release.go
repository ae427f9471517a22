package main

import (
	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

const releaseLong = `Has the vublk that listens at SOCKET give its image free although its front-end is still there: flushed, unlocked
and not touched again until that front-end starts a ring, when it waits for the image like a newcomer.

This is for the source of a migration whose guest was paused before it was migrated: QEMU then sends nothing that
would tell vublk, and the destination's vublk waits for the image until the source's QEMU ends. A guest that is
migrated while it runs needs nothing: the image is given free when its rings stop.

Only root and the user that runs that vublk may do it, and only while the guest is paused.`

func releaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "release SOCKET",
		Short:   "Give the image of a paused guest free",
		Long:    releaseLong,
		Example: "  vublk release vm.sock",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Usagef("needs the socket of an export, such as: vublk release vm.sock")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return export.Release(args[0])
		},
	}
}
