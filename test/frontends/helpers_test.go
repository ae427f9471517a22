package frontends

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// must ends the test when something outside the case goes wrong.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// newDir makes a test's directory. Its path is short, Unix sockets live in it, and everybody may enter: libvirt's QEMU is
// another user.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run/room", "")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// bootFiles puts a kernel and an initramfs with our programs into dir. The kernel is a copy: libvirt changes the owner of
// what it starts.
func bootFiles(t *testing.T, dir string) (kernel, initramfs string) {
	t.Helper()
	kernel, initramfs = filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initramfs")
	data, err := os.ReadFile(lab.kernel.Image)
	must(t, err)
	must(t, os.WriteFile(kernel, data, 0o644))
	must(t, guest.Initramfs(lab.kernel, initramfs, guest.Contents{
		Tools: []string{"mke2fs"}, Static: []string{lab.scribe}, Files: map[string]string{"/progress": progress},
	}))
	return kernel, initramfs
}

// progress waits in the guest for so many more records of package scribe's writers.
const progress = `count() { cat /tmp/rounds 2>/dev/null || echo 0; }
goal=$(($(count) + $1))
until [ "$(count)" -ge $goal ]; do
	usleep 50000
done
echo "$(count) records written, synced and read back"
`
