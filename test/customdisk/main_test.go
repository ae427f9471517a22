package customdisk

import (
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	repo       string
	kernel     *guest.Kernel
	customdisk string // the example
	vublk      string
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() (err error) {
	if lab.repo, err = guest.Setup(); err != nil {
		return err
	}
	if lab.kernel, err = guest.FindKernel(lab.repo); err != nil {
		return err
	}
	if lab.vublk, err = guest.BuildVublk(); err != nil {
		return err
	}
	lab.customdisk = filepath.Join(lab.repo, "build", "guest", "bin", "customdisk")
	return guest.Build(filepath.Join(lab.repo, "examples", "customdisk"), lab.customdisk, ".")
}
