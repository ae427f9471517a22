package replay

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

const mib = 1 << 20

// apart is set in the process that has mounts of its own.
const apart = "VUBLK_TEST_MOUNTS_APART"

// lab is what all tests share and none changes.
var lab struct {
	repo  string
	vublk string // the program under test
	long  bool   // much time may be spent
}

func TestMain(m *testing.M) {
	if os.Getenv(apart) == "" {
		os.Exit(runApart())
	}
	lab.long = os.Getenv("VUBLK_PROVE") == "long"
	var err error
	if lab.repo, err = guest.RepoRoot(); err == nil {
		lab.vublk, err = guest.BuildVublk(lab.repo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

// runApart runs the tests in a mount namespace of their own: however they end, no mount is left behind.
func runApart() int {
	self, err := os.Executable()
	if err == nil {
		c := exec.Command(self, os.Args[1:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		c.Env = append(os.Environ(), apart+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		err = c.Run()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	default:
		fmt.Fprintln(os.Stderr, "replay: a mount namespace needs root:", err)
		return 1
	}
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
