package guest

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pkg/errors"
)

// BuildVublk builds the program from the tree as it is and returns its path, which is not bin/vublk: that one is what
// make build left, with the options it chose. go build does nothing when the program is up to date.
func BuildVublk(repo string) (string, error) {
	bin := filepath.Join(repo, "build", "guest", "bin", "vublk")
	return bin, Build(repo, bin, "./cmd/vublk")
}

// BuildScribe builds the program that works in guests (package scribe), as BuildVublk does.
func BuildScribe(repo string) (string, error) {
	bin := filepath.Join(repo, "build", "guest", "bin", "scribe")
	return bin, Build(repo, bin, "./test/e2e/scribe/cmd")
}

// Build builds a command of the module in dir, static, with more options for go build.
func Build(dir, bin, command string, options ...string) error {
	args := append(append([]string{"build", "-trimpath"}, options...), "-o", bin, command)
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	return errors.Wrapf(err, "go build %s: %s", command, out)
}
