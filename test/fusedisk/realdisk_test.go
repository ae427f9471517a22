package fusedisk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRealDisk reports synced writes a second on the disk of the test's directory: through vublk, and by the host itself
// with pwrite and fdatasync. Nothing is demanded of a disk that others use, too, but that the writes succeed.
func TestRealDisk(t *testing.T) {
	const pairs = 200
	served, native := filepath.Join(t.TempDir(), "served"), filepath.Join(t.TempDir(), "native")
	for _, path := range []string{served, native} {
		if err := os.WriteFile(path, make([]byte, 4*mib), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(native, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m := connect(t, serve(t, []string{served}).sockets[0], 1, 0)
	rate := func(pair func(i int) error) float64 {
		start := time.Now()
		for i := range pairs {
			if err := pair(i); err != nil {
				t.Fatal(err)
			}
		}
		return pairs / time.Since(start).Seconds()
	}
	block := make([]byte, 4096)
	for range 3 {
		guest := rate(func(i int) error { return pair(m.queues[0], uint64(i)*8) })
		host := rate(func(i int) error {
			if _, err := f.WriteAt(block, int64(i)*4096); err != nil {
				return err
			}
			return unix.Fdatasync(int(f.Fd()))
		})
		t.Logf("synced writes a second: %.0f through vublk, %.0f by the host itself", guest, host)
	}
}
