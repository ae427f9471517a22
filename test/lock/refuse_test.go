package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// writeLock is QEMU's complaint.
const writeLock = `Failed to get "write" lock`

// refused runs a program that must not get the image, and demands its complaint.
func refused(t *testing.T, complaint string, argv []string) error {
	t.Helper()
	status, out := run(t, argv...)
	if status == 0 || !strings.Contains(out, complaint) {
		return errors.Errorf("status %d, want a failure with %q; it wrote:\n%s", status, complaint, out)
	}
	return nil
}

// vublkIsRefused demands exit status 2 and a message that names the image and, if it has one to name, the holder.
func vublkIsRefused(t *testing.T, image, holder string, options ...string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	status, out := run(t, serve(socket, image, append(options, "--lock-timeout=0")...)...)
	if want := image + " is locked by " + holder; status != 2 || !strings.Contains(out, want) {
		t.Errorf("vublk %v: status %d, want 2 and %q; it wrote:\n%s", options, status, want, out)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("vublk %v made a socket: %v", options, err)
	}
}

func named(program string, p *process) string { return fmt.Sprintf("%s (pid %d)", program, p.PID()) }

// TestVublkKeepsOthersOut: nobody else writes what vublk serves, be it for reading only.
func TestVublkKeepsOthersOut(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		for _, mode := range [][]string{nil, {"--read-only"}} {
			t.Run(fmt.Sprintf("serve %v", mode), func(t *testing.T) {
				p, _ := serving(t, i.path, mode...)
				for _, u := range writers {
					if err := refused(t, writeLock, u.argv(t, i.path)); err != nil {
						t.Errorf("%s: %v", u.name, err)
					}
				}
				if err := refused(t, "Failed to get", []string{"qemu-img", "resize", "-f", "raw", i.path, "16M"}); err != nil {
					t.Errorf("qemu-img resize: %v", err)
				}
				vublkIsRefused(t, i.path, named("vublk", p))
				if mode == nil {
					vublkIsRefused(t, i.path, named("vublk", p), "--read-only")
				}
				p.end()
				expect(t, "the image", i.bytes(t, imageSize), pattern('0', imageSize))
			})
		}
	})
}

// TestOthersKeepVublkOut: vublk neither serves nor reads what QEMU writes, and says who has it.
func TestOthersKeepVublkOut(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		for _, u := range writers {
			t.Run(u.name, func(t *testing.T) {
				p := u.hold(t, i.path)
				vublkIsRefused(t, i.path, named(u.comm, p))
				vublkIsRefused(t, i.path, named(u.comm, p), "--read-only")
				p.Kill()
				q, _ := serving(t, i.path) // nothing is left of the lock
				q.end()
			})
		}
	})
}

// TestStorageDaemonLetsOthersWrite shows that these tests are able to fail: under an export of qemu-storage-daemon the
// same program that vublk keeps out overwrites the disk.
func TestStorageDaemonLetsOthersWrite(t *testing.T) {
	i := images[0].make(t)
	p := start(t, daemon(t, i.path, "on")...)
	p.awaitByte(i.path, 101)
	argv := []string{"qemu-io", "-f", "raw", "-c", "write -P 0x51 0 512", i.path}
	if err := refused(t, writeLock, argv); err == nil {
		t.Error("qemu-storage-daemon keeps other writers out by now: these tests need another proof that they can fail")
	}
	expect(t, "the image", i.bytes(t, 512), pattern(0x51, 512))
}

// TestBlockDeviceIsClaimed: file systems know no locks, and locks guard one node of a device; the exclusive claim keeps
// both out.
func TestBlockDeviceIsClaimed(t *testing.T) {
	back := content(t, filepath.Join(t.TempDir(), "back"))
	tool(t, "mkfs.ext4", "-q", "-F", back)
	device := loop(t, back)
	node := filepath.Join(t.TempDir(), "node")
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	point := t.TempDir()
	mount := func() error { return unix.Mount(device, point, "ext4", 0, "") }

	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) }) // where a failure leaves one

	p, _ := serving(t, device)
	if err := mount(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("mount of what vublk serves: %v, want EBUSY", err)
	}
	vublkIsRefused(t, node, "")
	p.end()

	if err := mount(); err != nil {
		t.Fatal(err)
	}
	vublkIsRefused(t, device, "a mounted file system")
	if err := unix.Unmount(point, 0); err != nil {
		t.Fatal(err)
	}
}
