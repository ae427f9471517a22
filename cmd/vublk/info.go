package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/iouring"
)

const infoLong = `Shows what this host can do for vublk: what its kernel's io_uring has, since which kernel release it exists,
what it costs where it is missing, and the limits of this process. Exit status 1: io_uring cannot be used here.`

func infoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show what this host's kernel can do",
		Long:  infoLong,
		Example: `  vublk info
  vublk info --output=json`,
		Args: cli.NoArgs,
	}
	output := cli.AddChoice(cmd.Flags(), "output", "how to write it", "table", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, probeErr := iouring.Probe()
		i := newInfo(c, probeErr)
		write := i.table
		if output.String() == "json" {
			write = i.json
		}
		if err := write(cmd.OutOrStdout()); err != nil {
			return errors.Wrap(err, "write")
		}
		return probeErr
	}
	return cmd
}

// info is what the command shows; the names in JSON are stable.
type info struct {
	Version  string       `json:"version"`
	Kernel   string       `json:"kernel"`
	Usable   bool         `json:"usable"`
	Problem  string       `json:"problem,omitempty"`
	Features []capability `json:"features"`
	Ops      []capability `json:"operations"`
	Limits   []limit      `json:"limits"`
}

type capability struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Since   string `json:"since"`
	Without string `json:"without"`
}

type limit struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"` // the largest number: unlimited
	Text  string `json:"text"`
	About string `json:"about"`
}

func newInfo(c iouring.Capabilities, problem error) info {
	i := info{Version: cli.Version(version), Kernel: c.Kernel, Usable: problem == nil}
	if problem != nil {
		i.Problem = problem.Error()
	}
	i.Features, i.Ops = capabilities(c.Features), capabilities(c.Ops)
	l := &c.Limits
	i.Limits = []limit{
		{"CPUs", uint64(runtime.NumCPU()), "", "this process may run on them; so many workers by default"},
		{"open files", l.OpenFiles, "", "RLIMIT_NOFILE: a front-end takes 5, each of its queues 6, each memory region beyond the first 1"},
		{"locked memory", l.Memlock, bytesText(l.Memlock), "RLIMIT_MEMLOCK: bounds memory registered with a ring"},
		{"submission entries", uint64(l.Entries), "", "of one ring"},
		{"completion entries", uint64(l.CQEntries), "", "of one ring: bounds the requests in flight of a worker"},
		{"segments", uint64(l.Iovecs), "", "of one read or write"},
		{"transfer", uint64(l.Transfer), bytesText(uint64(l.Transfer)), "of one read or write"},
	}
	for n := range i.Limits {
		if l := &i.Limits[n]; l.Text == "" {
			l.Text = fmt.Sprint(l.Value)
		}
	}
	return i
}

func capabilities(list []iouring.Capability) []capability {
	out := make([]capability, 0, len(list))
	for _, c := range list {
		out = append(out, capability{Name: c.Name, Present: c.Present, Since: c.Since, Without: c.Cost})
	}
	return out
}

func bytesText(n uint64) string {
	if n >= 1<<63 {
		return "unlimited"
	}
	return export.FormatSize(int64(n))
}

func (i *info) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(i)
}

func (i *info) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "vublk %s on Linux %s\n", i.Version, i.Kernel)
	if i.Usable {
		_, _ = fmt.Fprintf(t, "io_uring can be used.\n")
	} else {
		_, _ = fmt.Fprintf(t, "io_uring CANNOT be used: %s\n", i.Problem)
	}
	for _, part := range []struct {
		title string
		list  []capability
	}{{"FEATURE", i.Features}, {"OPERATION", i.Ops}} {
		_, _ = fmt.Fprintf(t, "\n%s\tHERE\tSINCE LINUX\tWITHOUT IT\n", part.title)
		for _, c := range part.list {
			here := "yes"
			if !c.Present {
				here = "NO"
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Name, here, c.Since, c.Without)
		}
	}
	_, _ = fmt.Fprintf(t, "\nLIMIT\tHERE\t\tMEANING\n")
	for _, l := range i.Limits {
		_, _ = fmt.Fprintf(t, "%s\t%s\t\t%s\n", l.Name, l.Text, l.About)
	}
	return t.Flush() // reports the first error of all the writes
}
