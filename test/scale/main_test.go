package scale

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// The program under test: as users have it, and the build that package insight looks into.
var vublk, insightVublk string

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(8) // drivers poll, and must not wait for each other's turn
	var err error
	if vublk, err = guest.BuildVublk(); err == nil {
		insightVublk, err = guest.BuildHere("vublk-insight", "./cmd/vublk", "-tags=insight")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}
