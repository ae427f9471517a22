package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// The program under test: as users have it, and the build that package insight looks into.
var vublk, insightVublk string

func TestMain(m *testing.M) {
	repo, err := guest.RepoRoot()
	if err == nil {
		vublk, err = guest.BuildVublk(repo)
	}
	if err == nil {
		insightVublk = filepath.Join(repo, "build", "guest", "bin", "vublk-insight")
		err = guest.Build(repo, insightVublk, "./cmd/vublk", "-tags=insight")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}
