// Package apart gives the tests of a package a mount namespace of their own: however they end, no mount is left behind.
//
// A TestMain calls Run before anything else. It needs root.
package apart

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/pkg/errors"
)

// inside is set in the process that has mounts of its own.
const inside = "VUBLK_TEST_MOUNTS_APART"

// Run returns in a process that has mounts of its own. In any other it runs the test binary again as such a one, and
// exits with that one's status.
func Run() {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
}

func again() int {
	self, err := os.Executable()
	if err == nil {
		c := exec.Command(self, os.Args[1:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		c.Env = append(os.Environ(), inside+"=1")
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
		fmt.Fprintln(os.Stderr, os.Args[0]+": a mount namespace needs root:", err)
		return 1
	}
}
