package guest

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pkg/errors"
)

// Setup installs what tests with guests need, as make does, and returns the repository's root.
func Setup() (repo string, err error) {
	if repo, err = RepoRoot(); err != nil {
		return "", err
	}
	setup := exec.Command(filepath.Join(repo, ".ci", "setup"))
	setup.Stdout, setup.Stderr = os.Stderr, os.Stderr
	return repo, errors.Wrap(setup.Run(), ".ci/setup")
}

// BuildVublk builds the program as BuildHere does.
func BuildVublk() (string, error) { return BuildHere("vublk", "./cmd/vublk") }

// BuildScribe builds the program that works in guests (package scribe), as BuildHere does.
func BuildScribe() (string, error) { return BuildHere("scribe", "./test/e2e/scribe/cmd") }

// BuildHere builds a command from the tree as it is and returns its path, which is not below bin: what is there make build
// left, with the options it chose. go build does nothing when the program is up to date.
func BuildHere(name, command string, options ...string) (string, error) {
	repo, err := RepoRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(repo, "build", "guest", "bin", name)
	return bin, Build(repo, bin, command, options...)
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
