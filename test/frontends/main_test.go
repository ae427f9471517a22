package frontends

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// inRoom is set in the environment of the tests' process inside the room.
const inRoom = "VUBLK_ROOM"

// lab is what all tests share and none changes.
var lab struct {
	repo   string
	kernel *guest.Kernel
	vublk  string // the program under test
	scribe string // the program that works in guests
}

func TestMain(m *testing.M) { leaktest.MainAfter(m, prepare) }

// prepare makes what the tests need and has this process begin again in the room.
func prepare() error {
	var err error
	if lab.repo, err = guest.RepoRoot(); err != nil {
		return err
	}
	if lab.kernel, err = guest.FindKernel(lab.repo); err != nil && os.Getenv(inRoom) != "" {
		return err
	}
	bin := filepath.Join(lab.repo, "build", "guest", "bin")
	lab.vublk, lab.scribe = filepath.Join(bin, "vublk"), filepath.Join(bin, "scribe")
	if os.Getenv(inRoom) != "" {
		return errors.Wrap(os.Setenv("PATH", bin+":"+os.Getenv("PATH")), "PATH")
	}
	if _, err := guest.Setup(); err != nil {
		return err
	}
	for _, build := range []func() (string, error){guest.BuildVublk, guest.BuildScribe} {
		if _, err := build(); err != nil {
			return err
		}
	}
	return enter()
}

// enter replaces this process by itself in the room.
func enter() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return errors.Wrap(err, "run .ci/setup")
	}
	self, err := os.Executable()
	if err != nil {
		return errors.Wrap(err, "the tests' program")
	}
	here, err := os.Getwd()
	if err != nil {
		return errors.Wrap(err, "working directory")
	}
	argv := []string{unshare}
	if os.Geteuid() != 0 {
		argv = []string{"sudo", "-n", "--preserve-env", unshare}
		if unshare, err = exec.LookPath("sudo"); err != nil {
			return errors.New("these tests mount file systems: they need root, or sudo without a password")
		}
	}
	argv = append(argv, "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc", "--net",
		filepath.Join(here, "room.sh"), self)
	argv = append(argv, os.Args[1:]...)
	return errors.Wrap(syscall.Exec(unshare, argv, append(os.Environ(), inRoom+"=1")), "unshare")
}
