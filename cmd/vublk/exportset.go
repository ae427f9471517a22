package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	vublkv1 "github.com/vublk/vublk/api/v1"
	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

const exportSetLong = `Changes options of an export, all of them or none: those of 'vublk export create', without the leading dashes, but for its name,
socket and image, which are what the export is.

What the guest has read or negotiated already takes effect with a new connection: while a front-end is connected such an
option is refused, unless --disconnect says that the front-end may be thrown out. It must connect again by itself, as QEMU
does with reconnect-ms.`

// forEver are the options that an export keeps.
var forEver = []string{"name", "fd", "socket-path", "connect", "blk-file", "store"}

func exportSetCommand() *cobra.Command {
	var disconnect bool
	cmd := &cobra.Command{
		Use:   "set NAME OPTION=VALUE...",
		Short: "Change options of an export",
		Long:  exportSetLong,
		Example: `  vublk export set vm cache=writethrough
  vublk export set vm flush-error=retry lock-timeout=5m --disconnect`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return cli.Usagef("needs an export and what to change, such as: vublk export set vm cache=writethrough")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&disconnect, "disconnect", false, "a front-end that is connected may lose its connection, and comes again by itself")
	o := addClientOptions(cmd.Flags())
	names := o.completeNames(1)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return names(cmd, args, prefix)
		}
		return settings(prefix), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := settingsOf(args[1:])
		if err != nil {
			return cli.Usage(err)
		}
		return o.call(cmd.Context(), func(ctx context.Context, c *client) error {
			updated, err := c.exports.Update(ctx, &vublkv1.UpdateRequest{Name: args[0], Options: options, Disconnect: disconnect})
			switch {
			case err != nil:
				return err
			case o.json():
				return writeJSON(cmd.OutOrStdout(), updated.GetExport(), true)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", printable(args[0]), strings.Join(args[1:], ", "))
			return errors.Wrap(err, "write")
		})
	}
	return cmd
}

// settings are the options that begin so.
func settings(prefix string) (list []string) {
	for _, o := range export.Options() {
		if strings.HasPrefix(o.Key, prefix) && !slices.Contains(forEver, o.Key) {
			list = append(list, o.Key+"=\t"+o.Usage)
		}
	}
	return list
}

// settingsOf reads OPTION=VALUE, and finds mistakes that need no daemon to be found. The keys it returns are fields of the API.
func settingsOf(args []string) (map[string]string, error) {
	options := map[string]string{}
	scratch := export.NewDefinition()
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if slices.Contains(forEver, key) {
			return nil, &export.OptionError{Option: key, Value: value, Reason: "it is what the export is, and stays", Remedy: "create another export"}
		}
		if _, err := export.Parse(strings.ReplaceAll(arg, ",", ",,"), scratch); err != nil {
			return nil, err
		}
		if !found {
			value = "on"
		}
		field := strings.ReplaceAll(key, "-", "_")
		if _, twice := options[field]; twice {
			return nil, &export.OptionError{Option: key, Value: value, Reason: "given twice", Remedy: "leave one out"}
		}
		options[field] = value
	}
	return options, nil
}
