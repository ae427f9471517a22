package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupKey is the annotation that says under which heading help shows a flag.
const groupKey = "vublk_group"

// Group puts flags under a heading.
func Group(flags *pflag.FlagSet, title string, names ...string) {
	for _, name := range names {
		if f := flags.Lookup(name); f != nil {
			f.Annotations = map[string][]string{groupKey: {title}}
		}
	}
}

// Widths of help, in characters.
const (
	helpWidth  = 110
	flagColumn = 32
)

// TeachHelp makes `--help` of cmd and its subcommands explain first, then give examples, then list flags in groups.
func TeachHelp(cmd *cobra.Command) {
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		writeHelp(c.OutOrStdout(), c)
	})
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		writeUsage(c.OutOrStderr(), c)
		return nil
	})
}

func writeHelp(w io.Writer, c *cobra.Command) {
	text := c.Long
	if text == "" {
		text = c.Short
	}
	_, _ = fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(text))
	writeUsage(w, c)
}

func writeUsage(w io.Writer, c *cobra.Command) {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if c.Runnable() && !c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND --help\n\nCommands:\n", c.CommandPath())
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(c.Example, "\n"))
	}
	writeFlags(&b, c)
	_, _ = io.WriteString(w, b.String())
}

// writeFlags lists the flags of c, each group in the order of its first flag.
func writeFlags(b *strings.Builder, c *cobra.Command) {
	for _, g := range FlagGroups(c) {
		fmt.Fprintf(b, "\n%s:\n", g.Title)
		for _, f := range g.Flags {
			writeFlag(b, f)
		}
	}
}

// FlagGroup are flags under one heading.
type FlagGroup struct {
	Title string
	Flags []*pflag.Flag
}

// FlagGroups lists the flags of c, each group in the order of its first flag.
func FlagGroups(c *cobra.Command) []FlagGroup {
	var groups []FlagGroup
	at := map[string]int{}
	flags := c.Flags()
	flags.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		title := "Other"
		if t := f.Annotations[groupKey]; len(t) > 0 {
			title = t[0]
		}
		n, ok := at[title]
		if !ok {
			n = len(groups)
			at[title], groups = n, append(groups, FlagGroup{Title: title})
		}
		groups[n].Flags = append(groups[n].Flags, f)
	})
	return groups
}

// FlagValue is what to write behind "=" of a flag; empty: nothing has to be.
func FlagValue(f *pflag.Flag) string {
	switch t := f.Value.Type(); t {
	case "bool":
		return ""
	case "int":
		return "N"
	default:
		return t
	}
}

// FlagUsage says what a flag does, and what it is without being given.
func FlagUsage(f *pflag.Flag) string {
	if d := f.DefValue; d != "" && d != "off" && d != "false" && d != "[]" {
		return f.Usage + " (default " + d + ")"
	}
	return f.Usage
}

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	left := "  --" + f.Name
	if f.Shorthand != "" {
		left = "  -" + f.Shorthand + ", --" + f.Name
	}
	if v := FlagValue(f); v != "" {
		left += "=" + v
	}
	lines := wrap(FlagUsage(f), helpWidth-flagColumn)
	if len(left) > flagColumn-2 {
		fmt.Fprintf(b, "%s\n", left)
		left = ""
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%-*s%s\n", flagColumn, left, line)
		left = ""
	}
}

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
