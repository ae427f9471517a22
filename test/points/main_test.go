package points

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/apart"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test, built with crash points.
var vublk string

func TestMain(m *testing.M) {
	apart.Run()
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "points:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

func build() error {
	repo, err := guest.RepoRoot()
	if err != nil {
		return err
	}
	vublk = filepath.Join(repo, "build", "guest", "bin", "vublk-crashpoint")
	c := exec.Command("go", "build", "-trimpath", "-tags", "crashpoint", "-o", vublk, "./cmd/vublk")
	c.Dir, c.Env = repo, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return errors.Wrapf(err, "go build: %s", out)
	}
	return nil
}
