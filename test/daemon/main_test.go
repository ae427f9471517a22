package daemon

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	e2e "github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	vublk string // the program under test
	seed  uint64
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() (err error) {
	lab.seed = rand.Uint64()
	if text := os.Getenv("VUBLK_SEED"); text != "" {
		if lab.seed, err = strconv.ParseUint(text, 0, 64); err != nil {
			return err
		}
	}
	lab.vublk, err = e2e.BuildVublk()
	return err
}
