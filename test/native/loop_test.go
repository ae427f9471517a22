package native

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// loopDevice is a block device with sectors of 4096 bytes on a file.
type loopDevice struct {
	path string
	file *os.File // what it is made of: the host's view
	hold *os.File // the device
}

// newLoop makes one, on tmpfs if that can do direct I/O and else on the disk for temporary files.
//
// It is detached at once and stays for as long as somebody has it open: us and vublk. Its file has no name any more. So
// nothing is left behind whatever becomes of this process.
func newLoop(t *testing.T, size int64) *loopDevice {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a loop device needs root")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Fatalf("losetup is missing (package mount, elsewhere util-linux): %v", err)
	}
	d, err := tryLoop(t, "/dev/shm", size)
	if err != nil {
		t.Logf("on tmpfs: %v; taking the disk", err)
		if d, err = tryLoop(t, "", size); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func tryLoop(t *testing.T, dir string, size int64) (d *loopDevice, err error) {
	t.Helper()
	f, err := os.CreateTemp(dir, "vublk-native-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	d = &loopDevice{file: f}
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return nil, err
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", "4096", "--direct-io=on", f.Name()).CombinedOutput()
	if err != nil {
		_ = f.Close()
		return nil, errors.Wrapf(err, "losetup: %s", out)
	}
	d.path = strings.TrimSpace(string(out))
	if d.hold, err = os.Open(d.path); err == nil {
		err = d.check()
	}
	if out, e := exec.Command("losetup", "--detach", d.path).CombinedOutput(); e != nil {
		t.Errorf("losetup --detach %s: %v: %s", d.path, e, out)
	}
	if err != nil {
		_ = d.hold.Close() // nil or open: either is well
		_ = f.Close()
		return nil, err
	}
	t.Cleanup(func() { d.close(t) })
	return d, nil
}

// check tells whether the device is what was asked for: losetup may be content with less.
func (d *loopDevice) check() error {
	for attr, want := range map[string]string{"queue/logical_block_size": "4096", "loop/dio": "1"} {
		got, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.path), attr))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(got)) != want {
			return errors.Errorf("%s: %s is %q, want %s", d.path, attr, got, want)
		}
	}
	return nil
}

// close lets the device go and waits until it is gone.
func (d *loopDevice) close(t *testing.T) {
	if err := d.hold.Close(); err != nil {
		t.Error(err)
	}
	ino := inode(t, d.file)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		out, err := exec.Command("losetup", "--noheadings", "--output", "BACK-INO", d.path).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != ino {
			break // nobody's, or somebody else's by now
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is still attached", d.path)
			break
		}
	}
	if err := d.file.Close(); err != nil {
		t.Error(err)
	}
}

func inode(t *testing.T, f *os.File) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(st.Ino)
}
