package customdisk

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPublicPackagesAreEnough runs the tests of a module that is not ours, and shows that they cannot reach what is internal.
func TestPublicPackagesAreEnough(t *testing.T) {
	embed := filepath.Join(lab.repo, "test", "customdisk", "embed")
	run := func(args ...string) (string, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir = embed
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("test", "-count=1", "-v", ".")
	if err != nil || strings.Count(out, "\n--- PASS: Test") < 1 {
		t.Fatalf("go test: %v\n%s", err, out)
	}
	dir := t.TempDir()
	overlay := map[string]map[string]string{"Replace": {filepath.Join(embed, "reach", "reach.go"): filepath.Join(dir, "reach.go")}}
	list, err := json.Marshal(overlay)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "reach.go"), []byte("package reach\n\nimport _ \"github.com/vublk/vublk/internal/sys\"\n"), 0o600))
	if out, err := run("build", "-overlay", filepath.Join(dir, "overlay.json"), "./reach"); err == nil || !strings.Contains(out, "use of internal package") {
		t.Fatalf("a module that is not ours can import what is internal: %v\n%s", err, out)
	}
}
