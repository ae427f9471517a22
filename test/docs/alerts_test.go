package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAlerts: Prometheus understands the rules of docs/operations.md, and docs/metrics.md has the metrics that they ask for.
func TestAlerts(t *testing.T) {
	all := blocks(ops, read(t, ops))
	n := slices.IndexFunc(all, func(b block) bool { return b.language == "yaml" && b.name == "alerts" })
	if n < 0 {
		t.Fatal(ops + " has no block of alerts")
	}
	file := filepath.Join(t.TempDir(), "alerts.yml")
	must(t, os.WriteFile(file, []byte(all[n].text), 0o644))
	out, err := exec.Command(filepath.Join(lab.repo, "build", "guest", "prometheus", "usr", "bin", "promtool"), "check", "rules", file).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	known := read(t, "docs/metrics.md")
	names := regexp.MustCompile(`\b(vublk|process|go)_[a-z_]+`).FindAllString(all[n].text, -1)
	if len(names) < 7 {
		t.Errorf("only %d metrics: %v", len(names), names)
	}
	for _, name := range names {
		if !strings.Contains(known, "`"+name+"`") {
			t.Errorf("docs/metrics.md has no %s", name)
		}
	}
}
