package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
)

// version is set by the linker (Makefile).
var version string

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program",
		Example: "  vublk version",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "vublk %s\n", cli.Version(version))
			return err
		},
	}
}
