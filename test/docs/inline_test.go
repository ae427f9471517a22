package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// code is a code span.
var code = regexp.MustCompile("`([^`\n]+)`")

// spans are the code spans of a page, outside of its blocks.
func spans(text string) []string {
	var all []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, fence) {
			fenced = !fenced
		}
		if fenced || strings.HasPrefix(line, "    ") {
			continue
		}
		for _, match := range code.FindAllStringSubmatch(line, -1) {
			all = append(all, match[1])
		}
	}
	return all
}

// help is what a command says about itself.
type help struct {
	t    *testing.T
	said map[string]string
}

func (h *help) of(words ...string) string {
	h.t.Helper()
	key := strings.Join(words, " ")
	if _, ok := h.said[key]; !ok {
		out, err := exec.Command(words[0], append(words[1:], "--help")...).CombinedOutput()
		if err != nil {
			h.t.Errorf("%s --help: %v, %s", key, err, out)
		}
		h.said[key] = string(out)
	}
	return h.said[key]
}

// all is what a command and those below it say.
func (h *help) all(command ...string) string {
	text := h.of(command...)
	_, list, _ := strings.Cut(text, "\nCommands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; name != "completion" && name != "help" {
			text += h.all(append(slices.Clone(command), name)...)
		}
	}
	return text
}

var (
	subcommand = regexp.MustCompile(`^[a-z][a-z-]*$`)
	option     = regexp.MustCompile(`^--([a-z][a-z-]*)`)
)

// check finds words of a command line that do not exist. Words in capitals and what is no option stand for something.
func (h *help) check(span string) (wrong string) {
	words := strings.Fields(span)
	command := []string{lab.vublk}
	rest := words[1:]
	for len(rest) > 0 && subcommand.MatchString(rest[0]) && strings.Contains(h.of(command...), "\nCommands:") {
		if !strings.Contains(h.of(command...), "\n  "+rest[0]+" ") {
			return rest[0]
		}
		command, rest = append(command, rest[0]), rest[1:]
	}
	for _, word := range rest {
		if o := option.FindStringSubmatch(word); o != nil && o[1] != "help" && o[1] != "version" && !h.knows(o[1], command...) {
			return word
		}
	}
	return ""
}

func (h *help) knows(name string, command ...string) bool {
	return regexp.MustCompile(`--` + name + `\b[^-]`).MatchString(h.of(command...))
}

// TestSpans looks up commands in the midst of sentences: the subcommand, its options, the target of make.
func TestSpans(t *testing.T) {
	h := &help{t: t, said: map[string]string{}}
	makefile := read(t, "Makefile")
	looked := 0
	for _, page := range pages(t) {
		for _, span := range spans(read(t, page)) {
			command, rest, _ := strings.Cut(strings.TrimPrefix(span, "bin/"), " ")
			switch {
			case command == "vublk" && rest != "" && !strings.HasPrefix(rest, "COMMAND"):
				looked++
				if wrong := h.check(span); wrong != "" {
					t.Errorf("%s: `%s`: there is no %s", page, span, wrong)
				}
			case command == "make" && rest != "":
				looked++
				if target, _, _ := strings.Cut(rest, " "); !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s: `%s`: there is no such target", page, span)
				}
			}
		}
	}
	if looked < 20 {
		t.Errorf("only %d commands looked up", looked)
	}
	for _, bad := range []string{"vublk srve", "vublk serve --sokcet-path=x"} {
		if h.check(bad) == "" {
			t.Errorf("`%s` passes", bad)
		}
	}
}

// TestOptions looks up each option in the pages: `--name` is one of vublk's, unless it is known to be another program's.
func TestOptions(t *testing.T) {
	h := &help{t: t, said: map[string]string{}}
	ours := h.all(lab.vublk)
	for _, page := range pages(t) {
		for _, span := range spans(read(t, page)) {
			o := option.FindStringSubmatch(span)
			if o == nil || others[o[1]] != "" {
				continue
			}
			if !regexp.MustCompile(`--` + o[1] + `\b[^-]`).MatchString(ours) {
				t.Errorf("%s: `%s` is no option of vublk", page, span)
			}
		}
	}
}

// others are options of other programs that pages name.
var others = map[string]string{
	"qemu":      "test/interop/run",
	"direct-io": "losetup",
}

// TestSnippets: what is shown and not run is part of something that is.
func TestSnippets(t *testing.T) {
	domain := read(t, filepath.Join("docs", "frontends.md"))
	example := read(t, filepath.Join("examples", "customdisk", "main.go"))
	for _, page := range pages(t) {
		if page == "docs/frontends.md" {
			continue
		}
		for _, b := range blocks(page, read(t, page)) {
			whole := map[string]string{"xml": domain, "go": example}[b.language]
			for line := range strings.Lines(b.text) {
				line = strings.TrimSpace(line)
				if whole != "" && !regexp.MustCompile(`(?m)^\s*`+regexp.QuoteMeta(line)+`$`).MatchString(loose(whole)) && !strings.Contains(whole, line) {
					t.Errorf("%s:%d: nothing that is run has the line %s", page, b.line, line)
				}
			}
		}
	}
}

// loose drops what a page may say in more detail: the number of queues.
func loose(domain string) string { return strings.ReplaceAll(domain, " queues='2'", "") }
