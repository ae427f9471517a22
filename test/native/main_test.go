package native

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// vublk is the program under test.
var vublk string

const mib = 1 << 20

func TestMain(m *testing.M) {
	leaktest.MainAfter(m, func() (err error) {
		vublk, err = guest.BuildVublk()
		return err
	})
}

// server is a vublk that runs.
type server struct {
	socket  string
	backend *guest.Backend
}

// serve starts vublk on a disk. The test fails when it does not end well by itself or by stop.
func serve(t *testing.T, disk string, options ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{socket: filepath.Join(dir, "s")}
	argv := append([]string{vublk, "serve", "--socket-path=" + s.socket, "--blk-file=" + disk}, options...)
	var err error
	if s.backend, err = guest.StartBackend(filepath.Join(dir, "log"), []string{s.socket}, argv...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("vublk's log:\n%s", s.backend.Log())
		}
	})
	return s
}

// stop sends SIGTERM and demands exit status 0, and that the socket is gone. Called again it does nothing.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.backend.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func connect(t *testing.T, s *server, o vhostusertest.Options) *vhostusertest.Frontend {
	t.Helper()
	f, err := vhostusertest.Connect(s.socket, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}
