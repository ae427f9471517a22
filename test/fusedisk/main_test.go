package fusedisk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test.
var vublk string

const mib = 1 << 20

// apart is set in the process that has mounts of its own.
const apart = "VUBLK_TEST_MOUNTS_APART"

// long tells that much time may be spent.
var long = os.Getenv("VUBLK_PROVE") == "long"

func TestMain(m *testing.M) {
	if os.Getenv(apart) == "" {
		os.Exit(runApart())
	}
	repo, err := guest.RepoRoot()
	if err == nil {
		vublk, err = guest.BuildVublk(repo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fusedisk:", err)
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
		fmt.Fprintln(os.Stderr, "fusedisk: a mount namespace needs root:", err)
		return 1
	}
}

// newDisk mounts a disk until the end of the test.
func newDisk(t *testing.T, size int64) *Disk {
	t.Helper()
	return newDiskWith(t, size, Options{})
}

func newDiskWith(t *testing.T, size int64, o Options) *Disk {
	t.Helper()
	d, err := New(t.TempDir(), size, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// server is a vublk that runs.
type server struct {
	*guest.Backend
	sockets []string
}

// serve starts vublk with one export for each disk. The end of the test stops it, unless it was killed.
func serve(t *testing.T, disks []string, options ...string) *server {
	t.Helper()
	s, dir := &server{}, t.TempDir()
	argv := append([]string{vublk, "serve"}, options...)
	for i, disk := range disks {
		socket := filepath.Join(dir, fmt.Sprintf("s%d", i))
		s.sockets = append(s.sockets, socket)
		argv = append(argv, fmt.Sprintf("--export=socket-path=%s,blk-file=%s", socket, disk))
	}
	var err error
	if s.Backend, err = guest.StartBackend(filepath.Join(dir, "log"), s.sockets, argv...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.Running() {
			return
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("vublk's log:\n%s", s.Log())
		}
	})
	return s
}
