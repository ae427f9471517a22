package crash

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	vublk string // the program under test
	long  bool   // much time may be spent
	seed  uint64
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

func prepare() error {
	lab.long = os.Getenv("VUBLK_PROVE") == "long"
	lab.seed = rand.Uint64()
	if text := os.Getenv("VUBLK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			return err
		}
		lab.seed = n
	}
	var err error
	lab.vublk, err = guest.BuildVublk()
	return err
}
