package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// descriptor is a path to what f is, for other processes too.
func descriptor(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// user is a program other than vublk that uses an image.
type user struct {
	name string
	argv func(t *testing.T, image string) []string
	comm string // its name in /proc, which has room for 15 bytes
	byte int    // a lock that only a writer takes, after the others
}

// writers of QEMU. As holders they have the image until they are killed.
var writers = []user{
	{
		name: "qemu-system", comm: "qemu-system-x86", byte: 201,
		argv: func(_ *testing.T, image string) []string {
			return []string{
				"qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-accel", "tcg", "-m", "64",
				"-drive", "file=" + image + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d",
			}
		},
	},
	{
		name: "qemu-storage-daemon", comm: "qemu-storage-da", byte: 101,
		argv: func(t *testing.T, image string) []string { return daemon(t, image, "on") },
	},
	{
		name: "qemu-io", comm: "qemu-io", byte: 101,
		argv: func(_ *testing.T, image string) []string {
			return []string{"qemu-io", "-f", "raw", "-c", "write -P 0x51 0 512", "-c", "sleep 60000", image}
		},
	},
	{
		name: "qemu-img convert", comm: "qemu-img", byte: 101,
		argv: func(t *testing.T, image string) []string {
			source := content(t, filepath.Join(t.TempDir(), "source"))
			return []string{"qemu-img", "convert", "-n", "-r", "65536", "-f", "raw", "-O", "raw", source, image}
		},
	},
}

// daemon is the command line of a qemu-storage-daemon that exports an image.
func daemon(t *testing.T, image, writable string) []string {
	driver := "file"
	if st, err := os.Stat(image); err == nil && st.Mode()&os.ModeDevice != 0 {
		driver = "host_device"
	}
	readOnly := map[string]string{"on": "off", "off": "on"}[writable]
	return []string{
		"qemu-storage-daemon", "--blockdev", driver + ",node-name=f,filename=" + image + ",read-only=" + readOnly,
		"--export", "vhost-user-blk,id=e,addr.type=unix,addr.path=" + filepath.Join(t.TempDir(), "q") + ",node-name=f,writable=" + writable,
	}
}

// hold starts the user and waits until it has the image.
func (u user) hold(t *testing.T, image string) *process {
	t.Helper()
	p := start(t, u.argv(t, image)...)
	p.awaitByte(image, u.byte)
	return p
}
