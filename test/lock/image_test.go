package lock

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const imageSize = 8 * mib

// image is what is fought for, as its users see it and as the host sees it behind their backs.
type image struct {
	path  string
	block bool
	back  string // the file that holds the bytes
}

// images make the kinds of images that the tests run on. The content is pattern('0').
var images = []struct {
	name string
	make func(t *testing.T) image
}{
	{"file", func(t *testing.T) image {
		path := content(t, filepath.Join(t.TempDir(), "disk.raw"))
		return image{path: path, back: path}
	}},
	{"loop device", func(t *testing.T) image {
		back := content(t, filepath.Join(t.TempDir(), "back"))
		return image{path: loop(t, back), block: true, back: back}
	}},
}

// onImages runs a test on each kind of image.
func onImages(t *testing.T, test func(t *testing.T, i image)) {
	for _, c := range images {
		t.Run(c.name, func(t *testing.T) { test(t, c.make(t)) })
	}
}

// pattern is n bytes of one letter.
func pattern(letter byte, n int) []byte { return bytes.Repeat([]byte{letter}, n) }

// content fills a file, so that overwriting it allocates nothing, and returns its path.
func content(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(pattern('0', imageSize)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return path
}

// bytes returns the beginning of the image as the host sees it.
func (i image) bytes(t *testing.T, n int) []byte {
	t.Helper()
	f, err := os.Open(i.back)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// loop makes a block device of a file. It is detached at once and stays while somebody has it open; we do.
func loop(t *testing.T, file string) string {
	t.Helper()
	device := tool(t, "losetup", "--find", "--show", file)
	hold, err := os.Open(device)
	tool(t, "losetup", "--detach", device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		awaitDetached(t, device, file)
	})
	return device
}

// awaitDetached waits for the last user of a loop device: file systems and dead processes take their time.
func awaitDetached(t *testing.T, device, file string) {
	t.Helper()
	attr := filepath.Join("/sys/block", filepath.Base(device), "loop", "backing_file")
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(attr)
		if err != nil || !bytes.HasPrefix(b, []byte(file)) {
			return // nobody's, or somebody else's by now
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is still attached to %s", device, file)
			return
		}
	}
}

// fileSystem makes an ext4 of its own on a loop device. The mount has no place in the tree any more when it returns; it
// goes with the directory, whose files are reached by the path that is returned.
func fileSystem(t *testing.T) (dir *os.File, path, device string) {
	t.Helper()
	tmp := t.TempDir()
	file, point := filepath.Join(tmp, "fs.img"), filepath.Join(tmp, "fs")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64*mib); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(point, 0o700); err != nil {
		t.Fatal(err)
	}
	device = loop(t, file)
	tool(t, "mkfs.ext4", "-q", "-F", device)
	if err := unix.Mount(device, point, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(point)
	if e := unix.Unmount(point, unix.MNT_DETACH); e != nil {
		t.Errorf("unmount %s: %v", point, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir, descriptor(dir), device
}
