package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	kernel *guest.Kernel
	vublk  string   // the program under test
	scribe string   // the program that works in guests
	qemu   []string // VUBLK_QEMU: the command of another QEMU than Debian's, of 9.2 or later; test/interop/run --qemu has one
	long   bool     // much time may be spent
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() error {
	repo, err := guest.Setup()
	if err != nil {
		return err
	}
	if lab.kernel, err = guest.FindKernel(repo); err != nil {
		return err
	}
	lab.qemu = strings.Fields(os.Getenv("VUBLK_QEMU"))
	lab.long = os.Getenv("VUBLK_PROVE") == "long"
	if lab.scribe, err = guest.BuildScribe(); err != nil {
		return err
	}
	lab.vublk, err = guest.BuildVublk()
	return err
}
