package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	kernel *guest.Kernel
	vublk  string // the program under test
}

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

func prepare() error {
	repo, err := guest.RepoRoot()
	if err != nil {
		return err
	}
	setup := exec.Command(filepath.Join(repo, ".ci", "setup"))
	setup.Stdout, setup.Stderr = os.Stderr, os.Stderr
	if err := setup.Run(); err != nil {
		return fmt.Errorf(".ci/setup: %w", err)
	}
	if lab.kernel, err = guest.FindKernel(repo); err != nil {
		return err
	}
	lab.vublk, err = guest.BuildVublk(repo)
	return err
}
