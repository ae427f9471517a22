package systemd

import (
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	repo   string
	kernel *guest.Kernel
	vublk  string // the program under test
	pilot  string // the front-end
	scribe string // the program that works in a guest
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() error {
	var err error
	if lab.repo, err = guest.Setup(); err != nil {
		return err
	}
	if lab.kernel, err = guest.FindKernel(lab.repo); err != nil {
		return err
	}
	if lab.pilot, err = guest.BuildHere("pilot", "./test/systemd/pilot"); err != nil {
		return err
	}
	if lab.scribe, err = guest.BuildScribe(); err != nil {
		return err
	}
	lab.vublk, err = guest.BuildVublk()
	return err
}
