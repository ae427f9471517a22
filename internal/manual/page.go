package manual

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/cli"
)

// Page is one man page.
type Page struct {
	Command *cobra.Command
	Section int
	// Written is what help does not say: sections with a heading "# NAME" each, which come in the order of this package.
	Written string
	// SeeAlso are other pages, such as "vublk(1)".
	SeeAlso []string
}

// Name is the page's: that of the command with dashes.
func (p Page) Name() string { return strings.ReplaceAll(p.Command.CommandPath(), " ", "-") }

// File is the page's file name.
func (p Page) File() string { return fmt.Sprintf("%s.%d", p.Name(), p.Section) }

// after are written sections in their order, which is that of man-pages(7).
var after = []string{"SIGNALS", "EXIT STATUS", "ENVIRONMENT", "FILES"}

// edition is the date that pages bear: man(7) wants one, and one that changed by itself would make each build differ.
const edition = "2026-11-23"

// exitStatus is that of all commands.
const exitStatus = `0
: Success.

1
: Something failed while working.

2
: Nothing was begun: an option, a file, a socket or the kernel is not as it must be. One line on stderr says which, and what to do.
`

// WriteTo writes the page's source.
func (p Page) WriteTo(w io.Writer) (int64, error) {
	written := sections(p.Written)
	var r roff
	fmt.Fprintf(&r.b, ".\\\" Made by `make man` of the help and of packaging/man/written/%s.txt: change those.\n", p.Name())
	fmt.Fprintf(&r.b, ".TH %s %d %s vublk \"vublk Manual\"\n", escape(strings.ToUpper(p.Name())), p.Section, edition)
	p.head(&r)
	if more := written["DESCRIPTION"]; more != "" {
		r.text(more, false)
	}
	p.commands(&r)
	options(&r, p.Command, "SH")
	if written["EXIT STATUS"] == "" {
		written["EXIT STATUS"] = exitStatus
	}
	for _, name := range after {
		if text := written[name]; text != "" {
			r.macro("SH", name)
			r.text(text, true)
		}
	}
	examples(&r, p.Command, "SH", written["EXAMPLES"])
	r.macro("SH", "SEE ALSO")
	r.fill(strings.Join(p.SeeAlso, ", "))
	n, err := io.WriteString(w, r.b.String())
	return int64(n), err
}

func (p Page) head(r *roff) {
	c := p.Command
	r.macro("SH", "NAME")
	r.fill(p.Name() + " - " + strings.ToLower(c.Short[:1]) + c.Short[1:])
	r.macro("SH", "SYNOPSIS")
	for n, leaf := range leaves(c) {
		if n > 0 {
			r.macro("br")
		}
		synopsis(r, leaf)
	}
	r.macro("SH", "DESCRIPTION")
	r.text(c.Long, true)
}

func synopsis(r *roff, c *cobra.Command) {
	rest := strings.TrimPrefix(c.UseLine(), c.CommandPath())
	switch {
	case c.HasAvailableSubCommands():
		rest += " COMMAND [OPTION]…"
	case strings.Contains(rest, "[flags]"):
		rest = strings.Replace(rest, "[flags]", "[OPTION]…", 1)
	case !strings.Contains(rest, "-"):
		rest += " [OPTION]…"
	}
	r.line(`\fB` + escape(c.CommandPath()) + `\fR` + emphasize(rest))
}

// leaves are the commands that can be run: c or, when it has some, those below it.
func leaves(c *cobra.Command) []*cobra.Command {
	if !c.HasAvailableSubCommands() || !c.HasParent() {
		return []*cobra.Command{c}
	}
	return available(c)
}

func available(c *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(sub *cobra.Command) bool { return !sub.IsAvailableCommand() || generated(sub) })
}

// generated tells whether a command is cobra's.
func generated(c *cobra.Command) bool { return c.Name() == "completion" || c.Name() == "help" }

// commands explains what is below the command: of the root in short, for each has a page; of others all there is to say.
func (p Page) commands(r *roff) {
	list := available(p.Command)
	if len(list) == 0 {
		return
	}
	r.macro("SH", "COMMANDS")
	for _, sub := range list {
		if !p.Command.HasParent() {
			r.term(`\fB`+escape(sub.CommandPath())+`\fR`, sub.Short+".")
			continue
		}
		r.macro("SS", sub.CommandPath())
		synopsis(r, sub)
		text := sub.Long
		if text == "" {
			text = sub.Short + "."
		}
		r.text(text, false)
		options(r, sub, "")
		examples(r, sub, "", "")
	}
}

// options lists the flags, under headings where there is one for all of them.
func options(r *roff, c *cobra.Command, heading string) {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	if heading != "" {
		r.macro(heading, "OPTIONS")
	}
	groups := cli.FlagGroups(c)
	for _, g := range groups {
		if heading != "" && len(groups) > 1 {
			r.macro("SS", g.Title)
		}
		for _, f := range g.Flags {
			term := `\fB` + escape("--"+f.Name) + `\fR`
			if f.Shorthand != "" {
				term = `\fB` + escape("-"+f.Shorthand) + `\fR, ` + term
			}
			if v := cli.FlagValue(f); v != "" {
				if f.NoOptDefVal != "" {
					term += "[=" + `\fI` + escape(v) + `\fR]`
				} else {
					term += "=" + `\fI` + escape(v) + `\fR`
				}
			}
			r.term(term, usage(f))
		}
	}
}

// usage is what a flag does, as a sentence.
func usage(f *pflag.Flag) string {
	switch f.Name { // cobra's own
	case "help":
		return "Explain the command, and end."
	case "version":
		return "Show the version of this program, and end."
	}
	text := cli.FlagUsage(f)
	if first, _, _ := strings.Cut(text, " "); strings.Trim(first, "abcdefghijklmnopqrstuvwxyz") == "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return text + "."
}

// examples writes those of the help, and more.
func examples(r *roff, c *cobra.Command, heading, more string) {
	if c.Example == "" && more == "" {
		return
	}
	if heading == "" {
		r.macro("PP")
		r.line("Examples:")
	} else {
		r.macro(heading, "EXAMPLES")
	}
	first := heading != ""
	for _, block := range strings.Split(strings.Trim(c.Example, "\n"), "\n\n") {
		var lines []string
		for _, l := range strings.Split(block, "\n") {
			comment, isComment := strings.CutPrefix(strings.TrimSpace(l), "# ")
			if !isComment {
				lines = append(lines, strings.TrimPrefix(l, "  "))
				continue
			}
			if len(lines) > 0 {
				r.verbatim(lines)
				lines, first = nil, false
			}
			if !first {
				r.macro("PP")
			}
			r.fill(strings.ToUpper(comment[:1]) + comment[1:] + ":")
			first = false
		}
		r.verbatim(lines)
		first = false
	}
	if more != "" {
		r.text(more, false)
	}
}

// sections splits what was written.
func sections(text string) map[string]string {
	found := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n# ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		found[strings.TrimSpace(heading)] = strings.Trim(body, "\n")
	}
	return found
}
