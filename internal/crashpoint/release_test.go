package crashpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// TestReleaseHasNone builds the programs without the tag and looks for what a crash point would leave in them, and builds
// them with it to see that it would be found.
func TestReleaseHasNone(t *testing.T) {
	points := append(pointsInSource(t), "VUBLK_CRASHPOINT", "crashpoint reached")
	if len(points) < 15 {
		t.Fatalf("only %q found: the pattern does not find them any more", points)
	}
	for _, command := range []string{"vublk", "vhost-user-blk"} {
		release, symbols := program(t, command)
		for _, p := range points {
			if bytes.Contains(release, []byte(p)) {
				t.Errorf("%s has %q in it", command, p)
			}
		}
		if i := slices.IndexFunc(symbols, isPoint); i >= 0 {
			t.Errorf("%s has the function %s", command, symbols[i])
		}
		build, symbols := program(t, command, "-tags=crashpoint")
		for _, p := range points {
			if strings.HasPrefix(p, "definition-") && command != "vublk" {
				continue // only a daemon has a state directory
			}
			if !bytes.Contains(build, []byte(p)) {
				t.Errorf("%s with the tag has no %q in it: nothing would be found", command, p)
			}
		}
		if !slices.ContainsFunc(symbols, isPoint) {
			t.Errorf("%s with the tag has no function of this package: nothing would be found", command)
		}
	}
	t.Logf("%d strings, of which the release has none", len(points))
}

func isPoint(symbol string) bool { return strings.Contains(symbol, "/internal/crashpoint.") }

// program builds a command and returns its bytes and the names of its functions.
func program(t *testing.T, command string, flags ...string) (text []byte, symbols []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), command)
	build := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", path}, flags...), "./cmd/"+command)...)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "nm", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return text, strings.Split(string(out), "\n")
}

// pointsInSource finds the names of all points.
func pointsInSource(t *testing.T) (names []string) {
	t.Helper()
	call := regexp.MustCompile(`crashpoint\.Reach\("([a-z-]+)"\)`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == "bin" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
