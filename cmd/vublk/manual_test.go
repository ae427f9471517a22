package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/manual"
)

const manDir = "../../packaging/man"

// otherPages are those of other programs.
var otherPages = []string{"vhost-user-blk.1"}

// pages are the man pages of this program: one for itself, one for each of its commands.
func pages() []manual.Page {
	root := rootCommand(io.Discard)
	list := []manual.Page{{Command: root, Section: 1}}
	var names []string
	for _, c := range root.Commands() {
		if slices.Contains([]string{"help", "completion"}, c.Name()) {
			continue
		}
		p := manual.Page{Command: c, Section: 1, SeeAlso: append([]string{"vublk(1)"}, related[c.Name()]...)}
		if c.Name() == "daemon" {
			p.Section = 8
		}
		list = append(list, p)
		names = append(names, strings.Replace(p.File(), ".", "(", 1)+")")
	}
	slices.Sort(names)
	for n := range list {
		list[n].SeeAlso = slices.DeleteFunc(list[n].SeeAlso, func(page string) bool {
			return strings.HasPrefix(page, "vublk-") && !slices.Contains(names, page)
		})
	}
	list[0].SeeAlso = append(names, "vhost-user-blk(1)", "qemu(1)", "https://github.com/vublk/vublk")
	return list
}

// related are the pages to read beside that of a command.
var related = map[string][]string{
	"serve":   {"vublk-create(1)", "vublk-info(1)", "vublk-release(1)", "vublk-daemon(8)", "vhost-user-blk(1)", "qemu(1)"},
	"daemon":  {"vublk-export(1)", "vublk-stats(1)", "vublk-events(1)", "vublk-top(1)", "vublk-serve(1)", "systemd.service(5)"},
	"create":  {"vublk-serve(1)", "qemu-img(1)"},
	"release": {"vublk-serve(1)"},
	"bench":   {"vublk-serve(1)", "fio(1)", "qemu-storage-daemon(1)"},
	"info":    {"vublk-serve(1)", "io_uring(7)"},
	"export":  {"vublk-daemon(8)", "vublk-events(1)", "vublk-stats(1)"},
	"stats":   {"vublk-daemon(8)", "vublk-top(1)"},
	"events":  {"vublk-daemon(8)", "vublk-export(1)"},
	"top":     {"vublk-daemon(8)", "vublk-stats(1)"},
}

// The pages that are installed say what the help says now.
func TestManualIsCurrent(t *testing.T) {
	if err := manual.Check(manDir, pages()); err != nil {
		t.Error(err)
	}
	known := slices.Clone(otherPages)
	for _, p := range pages() {
		known = append(known, p.File())
	}
	have, err := filepath.Glob(manDir + "/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range have {
		if !slices.Contains(known, filepath.Base(path)) {
			t.Errorf("%s is of no command", path)
		}
	}
}

// Each command and each of its flags is in its page.
func TestManualIsComplete(t *testing.T) {
	text := map[string]string{}
	for _, p := range pages() {
		source, err := os.ReadFile(filepath.Join(manDir, p.File()))
		if err != nil {
			t.Fatal(err)
		}
		text[p.Command.Name()] = string(source)
	}
	flags := 0
	for _, c := range commands() {
		if slices.Contains(strings.Fields(c.CommandPath()), "completion") || c.Name() == "help" {
			continue
		}
		page := text[pageOf(c).Name()]
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			flags++
			if want := `\fB` + strings.ReplaceAll("--"+f.Name, "-", `\-`) + `\fR`; !strings.Contains(page, want) {
				t.Errorf("%s: --%s is not in its page", c.CommandPath(), f.Name)
			}
		})
		if c.HasParent() && !strings.Contains(text["vublk"]+page, `\fB`+strings.ReplaceAll(c.CommandPath(), "-", `\-`)+`\fR`) {
			t.Errorf("%s is in no page", c.CommandPath())
		}
	}
	if flags < 60 {
		t.Errorf("only %d flags looked for", flags)
	}
}

// pageOf is the command that c is explained with.
func pageOf(c *cobra.Command) *cobra.Command {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c
}
