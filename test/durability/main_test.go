package durability

import (
	"flag"
	"os"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
)

var (
	long = flag.Bool("long", os.Getenv("VUBLK_PROVE") == "long", "prove at length; VUBLK_PROVE=long in the environment says the same")
	seed = flag.Uint64("seed", 0, "run each configuration once, with this seed")
)

func TestMain(m *testing.M) { leaktest.Main(m) }
