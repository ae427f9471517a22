package lock

import (
	"fmt"
	"os"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test.
var vublk string

const mib = 1 << 20

func TestMain(m *testing.M) {
	repo, err := guest.RepoRoot()
	if err == nil {
		vublk, err = guest.BuildVublk(repo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}
