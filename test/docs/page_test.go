package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a part of a page that is set as it is typed.
type block struct {
	page     string // "README.md", "docs/bench.md"
	line     int    // where it begins, from 1
	language string // of a fence: "xml"; empty: indented, or a fence without
	name     string // what follows the language
	text     string
}

// pages lists what people read, from the root of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(lab.repo, "docs", "*.md"))
	must(t, err)
	for n, path := range list {
		list[n], err = filepath.Rel(lab.repo, path)
		must(t, err)
	}
	return append([]string{"README.md", "CONTRIBUTING.md", "examples/customdisk/README.md"}, list...)
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(lab.repo, page))
	must(t, err)
	return string(text)
}

const fence = "```"

// blocks takes them out of a page: what is between fences, and what is indented by four after an empty line.
func blocks(page, text string) []block {
	var all []block
	var open *block
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		fenced := open != nil && open.language != ""
		info, isFence := strings.CutPrefix(line, fence)
		switch {
		case isFence && fenced:
			all, open = append(all, *open), nil
		case fenced:
			open.text += line + "\n"
		case isFence:
			language, name, _ := strings.Cut(info, " ")
			if language == "" {
				language = "text"
			}
			open = &block{page: page, line: n + 1, language: language, name: name}
		case strings.HasPrefix(line, "    ") && (open != nil || n > 0 && lines[n-1] == ""):
			if open == nil {
				open = &block{page: page, line: n + 1}
			}
			open.text += strings.TrimPrefix(line, "    ") + "\n"
		case open != nil:
			all, open = append(all, *open), nil
		}
	}
	return all
}

var (
	prompt  = regexp.MustCompile(`(?m)^\$ `)
	comment = regexp.MustCompile(`(?m)(^| +)# .*$`)
)

// commands are those of a block: lines that end in a backslash go on, what follows " # " is for people, and where some lines
// begin with "$ " the others are answers.
func (b block) commands() []string {
	answers := prompt.MatchString(b.text)
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
		command, typed := strings.CutPrefix(line, "$ ")
		if answers && !typed {
			continue
		}
		if command = strings.Join(strings.Fields(comment.ReplaceAllString(command, "")), " "); command != "" {
			all = append(all, command)
		}
	}
	return all
}

// The pages' commands are found where they are.
func TestBlocks(t *testing.T) {
	text := strings.Join([]string{
		"Text", "    no block, for it goes on", "", "    make a    # why", "    b \\", "      -c", "", "```sh name", "d # e", "```", "",
		"```console", "$ f", "answer", "```", "", "```", "diagram", "```", "",
	}, "\n")
	var got []string
	for _, b := range blocks("page", text) {
		got = append(got, b.language+"/"+b.name+": "+strings.Join(b.commands(), "; "))
	}
	if want := "/: make a; b -c|sh/name: d|console/: f|text/: diagram"; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
}
