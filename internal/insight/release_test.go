package insight_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/insight"
	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestReleaseHasNone builds the program without the tag and looks for what this package would leave in it, and builds it
// with it to see that it would be found.
func TestReleaseHasNone(t *testing.T) {
	for _, trace := range []string{insight.Variable, "insight: "} {
		if bytes.Contains(program(t), []byte(trace)) {
			t.Errorf("the release has %q in it", trace)
		}
		if !bytes.Contains(program(t, "-tags=insight"), []byte(trace)) {
			t.Errorf("the build with the tag has no %q in it: nothing would be found", trace)
		}
	}
}

// program is vublk as the Makefile builds it, with more options.
func program(t *testing.T, options ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vublk")
	build := exec.Command("go", append(append([]string{"build", "-trimpath"}, options...), "-o", path, "./cmd/vublk")...)
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
