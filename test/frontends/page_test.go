package frontends

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of Markdown whose first line says "language name".
var block = regexp.MustCompile("(?ms)^```([a-z]+) ([a-z-]+)\n(.*?)^```$")

// page returns the named blocks of docs/frontends.md.
func page(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(lab.repo, "docs", "frontends.md"))
	must(t, err)
	blocks := map[string]string{}
	for _, match := range block.FindAllStringSubmatch(string(text), -1) {
		name := match[2]
		if _, twice := blocks[name]; twice {
			t.Fatalf("docs/frontends.md has two blocks named %s", name)
		}
		blocks[name] = match[3]
	}
	return blocks
}

// snippet returns one block.
func snippet(t *testing.T, name string) string {
	t.Helper()
	text, ok := page(t)[name]
	if !ok {
		t.Fatalf("docs/frontends.md has no block named %s", name)
	}
	return text
}

// commands returns the commands of a snippet for a shell: lines that end in a backslash go on, comments are for people.
func commands(text string) []string {
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line, _, _ = strings.Cut(line, " #")
		if line = strings.Join(strings.Fields(line), " "); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// replaced exchanges what the page says for what can be done here, and demands that it says it, once.
func replaced(t *testing.T, text, from, to string) string {
	t.Helper()
	if n := strings.Count(text, from); n != 1 {
		t.Fatalf("%d times %q in the page's text, want 1:\n%s", n, from, text)
	}
	return strings.Replace(text, from, to, 1)
}
