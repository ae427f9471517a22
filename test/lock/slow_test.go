package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// blkio is the controller of cgroup v1 that throttles block devices.
const blkio = "/sys/fs/cgroup/blkio"

// brake holds back the I/O that one process does to one block device: what is submitted while it is on does not reach
// the device before it is off, whether the process lives or not.
type brake struct {
	t      *testing.T
	group  string
	device string // "7:0"
	on     bool
}

func newBrake(t *testing.T, device string) *brake {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	group, err := os.MkdirTemp(blkio, "vublk-lock-")
	if err != nil {
		t.Fatalf("the blkio controller of cgroup v1 is needed: %v", err)
	}
	b := &brake{t: t, group: group, device: fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))}
	t.Cleanup(func() {
		b.release()
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	return b
}

// rule writes to a file of the group.
func (b *brake) rule(name, value string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.group, name), []byte(value), 0); err != nil {
		b.t.Error(err)
	}
}

// take puts a process with all its threads under the brake.
func (b *brake) take(p *process) {
	b.t.Helper()
	b.rule("cgroup.procs", strconv.Itoa(p.PID()))
}

// pull stops reads and writes: at a byte a second none of a test's life gets through.
func (b *brake) pull() { b.slow(1) }

// slow lets so many bytes per second through, each way.
func (b *brake) slow(rate int) {
	b.t.Helper()
	b.on = true
	b.limit(rate)
}

// release lets everything go that was held back.
func (b *brake) release() {
	b.t.Helper()
	if !b.on {
		return
	}
	b.on = false
	b.limit(0)
}

func (b *brake) limit(rate int) {
	b.t.Helper()
	for _, way := range []string{"read", "write"} {
		b.rule("blkio.throttle."+way+"_bps_device", fmt.Sprintf("%s %d", b.device, rate))
	}
}

// ioctl(2) requests of linux/fs.h, which x/sys does not have.
const (
	ioctlFreeze = 0xc0045877 // FIFREEZE
	ioctlThaw   = 0xc0045878 // FITHAW
)

// freeze stops the writes of a file system inside the system call; the end of the test thaws it.
func freeze(t *testing.T, dir *os.File) (thaw func()) {
	t.Helper()
	if err := unix.IoctlSetInt(int(dir.Fd()), ioctlFreeze, 0); err != nil {
		t.Fatal(err)
	}
	frozen := true
	thaw = func() {
		if !frozen {
			return
		}
		frozen = false
		if err := unix.IoctlSetInt(int(dir.Fd()), ioctlThaw, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(thaw)
	return thaw
}

// slowImage is an image below which a brake can be put.
type slowImage struct {
	image
	device string
}

// slowImages are the kinds of images on a slow disk. The paths of files lead through a descriptor of ours.
var slowImages = []struct {
	name string
	make func(t *testing.T) slowImage
}{
	{"file", func(t *testing.T) slowImage {
		_, dir, device := fileSystem(t)
		path := content(t, filepath.Join(dir, "disk.raw"))
		return slowImage{image: image{path: path, back: path}, device: device}
	}},
	{"loop device", func(t *testing.T) slowImage {
		back := content(t, filepath.Join(t.TempDir(), "back"))
		device := loop(t, back)
		return slowImage{image: image{path: device, block: true, back: back}, device: device}
	}},
}

// nobody is whom vublk names when only the I/O of a dead process holds the image.
func nobody(log string) bool { return strings.Contains(log, "I/O of a process that died") }
