package replay

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/apart"
	"github.com/vublk/vublk/test/e2e/guest"
)

const mib = 1 << 20

// lab is what all tests share and none changes.
var lab struct {
	repo  string
	vublk string // the program under test
	long  bool   // much time may be spent
}

func TestMain(m *testing.M) {
	apart.Run()
	lab.long = os.Getenv("VUBLK_PROVE") == "long"
	leaktest.MainAfter(m, func() (err error) {
		if lab.repo, err = guest.RepoRoot(); err != nil {
			return err
		}
		lab.vublk, err = guest.BuildVublk()
		return err
	})
}

// must ends the test when something outside of what is proved goes wrong.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDir makes a test's directory. QEMU's options take no commas, and the names of subtests have some.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// newSeed is the random numbers' beginning: VUBLK_SEED, or any.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("VUBLK_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 0, 64)
	must(t, errors.Wrap(err, "VUBLK_SEED"))
	return n
}
