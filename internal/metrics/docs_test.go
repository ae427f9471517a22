package metrics

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumented: docs/metrics.md has a line for each metric that is told, and tells of no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\| ([^|]+) \\|").FindAllStringSubmatch(string(text), -1) {
		if documented[m[1]] {
			t.Errorf("%s is documented twice", m[1])
		}
		documented[m[1]] = true
		if strings.TrimSpace(m[3]) == "" {
			t.Errorf("nothing is said about what %s is good for", m[1])
		}
	}
	told := newSite(t, everything()).scrape("/metrics")
	for name, f := range told {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
		if f.GetHelp() == "" {
			t.Errorf("%s has no help text", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is documented, and not told", name)
	}
	if len(told) < 50 {
		t.Errorf("only %d metrics", len(told))
	}
}
