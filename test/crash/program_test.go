package crash

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// must ends the test when something outside of what is proved goes wrong.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// builds makes a directory for programs.
func builds(t *testing.T) (repo, dir string) {
	t.Helper()
	repo, err := guest.RepoRoot()
	must(t, err)
	return repo, t.TempDir()
}

// command runs a program of the host in a directory and returns what it says.
func command(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// otherCommit builds the program from the commit before the last one that changed it, or from VUBLK_UPGRADE_FROM. Where there
// is no history, in a shallow clone or an archive, a short run makes do with another build of this commit, and says so.
func otherCommit(t *testing.T) (program, commit string) {
	t.Helper()
	repo, dir := builds(t)
	commit = os.Getenv("VUBLK_UPGRADE_FROM")
	if commit == "" {
		cmd := exec.Command("git", "log", "-2", "--format=%H", "--", "*.go", "go.mod", ":!*_test.go", ":!test", ":!*test/*")
		cmd.Dir = repo
		out, err := cmd.Output()
		list := strings.Fields(string(out))
		switch {
		case err == nil && len(list) == 2:
			commit = list[1]
		case lab.long:
			t.Fatalf("git knows no commit but the last (%v): this needs a clone with its history, or VUBLK_UPGRADE_FROM=COMMIT", err)
		default:
			t.Logf("NOT another commit: git knows none but the last (%v); another build of this one", err)
			program = filepath.Join(dir, "vublk")
			must(t, guest.Build(repo, program, "./cmd/vublk", "-ldflags=-X main.version=another"))
			return program, "this one"
		}
	}
	tree, tarball := filepath.Join(dir, "tree"), filepath.Join(dir, "tar")
	must(t, os.Mkdir(tree, 0o700))
	command(t, repo, "git", "archive", "--format=tar", "-o", tarball, commit)
	command(t, tree, "tar", "-xf", tarball)
	program = filepath.Join(dir, "vublk")
	must(t, guest.Build(tree, program, "./cmd/vublk"))
	return program, commit
}

// patched builds the program from the tree with one piece of one file replaced.
func patched(t *testing.T, file, old, replacement string) (program string) {
	t.Helper()
	repo, dir := builds(t)
	path := filepath.Join(repo, file)
	text, err := os.ReadFile(path)
	must(t, err)
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("%s does not say %q once: adapt this test", file, old)
	}
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(changed, []byte(strings.Replace(string(text), old, replacement, 1)), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	must(t, err)
	must(t, os.WriteFile(overlay, list, 0o600))
	program = filepath.Join(dir, "vublk")
	must(t, guest.Build(repo, program, "./cmd/vublk", "-overlay="+overlay))
	return program
}
