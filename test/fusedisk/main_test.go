package fusedisk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/apart"
	"github.com/vublk/vublk/test/e2e/guest"
)

// vublk is the program under test.
var vublk string

const mib = 1 << 20

// long tells that much time may be spent.
var long = os.Getenv("VUBLK_PROVE") == "long"

func TestMain(m *testing.M) {
	apart.Run()
	leaktest.MainAfter(m, func() (err error) {
		vublk, err = guest.BuildVublk()
		return err
	})
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
