package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// ioctl(2) requests of linux/fs.h, which x/sys does not have.
const (
	ioctlFreeze = 0xc0045877 // FIFREEZE
	ioctlThaw   = 0xc0045878 // FITHAW
)

// hungDisk is a file system of its own whose writes hang while it is frozen.
type hungDisk struct {
	t      *testing.T
	dir    *os.File
	frozen bool
}

func newHungDisk(t *testing.T) *hungDisk {
	t.Helper()
	dir := t.TempDir()
	file, mount := image(t, dir, "fs.img", 32<<20), filepath.Join(dir, "fs")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", "-F", file)
	tool(t, "mount", "-o", "loop", file, mount)
	t.Cleanup(func() { unmount(t, mount) })
	f, err := os.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	h := &hungDisk{t: t, dir: f}
	t.Cleanup(func() {
		h.thaw()
		_ = f.Close()
	})
	return h
}

func (h *hungDisk) freeze() {
	h.t.Helper()
	if err := unix.IoctlSetInt(int(h.dir.Fd()), ioctlFreeze, 0); err != nil {
		h.t.Fatal(err)
	}
	h.frozen = true
}

func (h *hungDisk) thaw() {
	h.t.Helper()
	if !h.frozen {
		return
	}
	h.frozen = false
	if err := unix.IoctlSetInt(int(h.dir.Fd()), ioctlThaw, 0); err != nil {
		h.t.Error(err)
	}
}

// unmount waits until the kernel has let go of the files of a process that has ended: the last of its I/O does it.
func unmount(t *testing.T, mount string) {
	t.Helper()
	for deadline := time.Now().Add(clitest.Patience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Unmount(mount, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			t.Fatalf("unmount %s: %v", mount, err)
		}
	}
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// A disk that hangs: SIGTERM waits for 5 seconds, then names the request; a second signal does not wait, but for half a
// second, in which it counts as the first one.
func TestStopWithAHungDisk(t *testing.T) {
	for _, c := range []struct {
		name     string
		again    bool
		want     []string
		min, max time.Duration
	}{
		{"gives up", false, []string{"gave up after 5s", "these requests did not end: vm queue 0:", "OUT at byte 512"}, 4 * time.Second, 20 * time.Second},
		{"second signal", true, []string{"second signal (terminated): ended at once"}, 500 * time.Millisecond, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := newHungDisk(t)
			file := filepath.Join(disk.dir.Name(), "disk.raw")
			if err := os.WriteFile(file, pattern(1<<20, 1), 0o600); err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(t.TempDir(), "vm.sock")
			p := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--blk-file="+file)
			t.Cleanup(disk.thaw) // or nobody could wait for the process
			p.Await("listening")
			g := clitest.Attach(t, socket, vhostusertest.Options{})
			if status := g.Do(0, clitest.Out, 0, pattern(512, 2)); status != clitest.StatusOK {
				t.Fatalf("status %d", status)
			}
			disk.freeze()
			g.Submit(0, clitest.Out, 1, pattern(512, 3))
			g.WantPending(0, 200*time.Millisecond, "the frozen file system takes writes")
			begin := time.Now()
			p.Signal(syscall.SIGTERM)
			if c.again {
				p.Await("stopping:")
			}
			// Its message tells: the process itself stays until the disk lets go of its I/O.
			for c.again && !strings.Contains(p.Stderr(), "second signal") && time.Since(begin) < c.max {
				p.Signal(syscall.SIGTERM)
				time.Sleep(20 * time.Millisecond)
			}
			for _, want := range c.want {
				p.Await(want)
			}
			if took := time.Since(begin); took < c.min || took > c.max {
				t.Errorf("took %v", took)
			}
			disk.thaw()
			if status := p.Status(); status != 1 {
				t.Errorf("status %d:\n%s", status, p.Stderr())
			}
		})
	}
}
