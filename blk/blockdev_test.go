package blk_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// loopDevice makes a block device with the given sector size of a file (as root).
func loopDevice(t *testing.T, size int64, sector string) (device, file string) {
	t.Helper()
	file = newFile(t, size)
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", sector, file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup (package mount; needs root): %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device, file
}

func TestBlockDevice(t *testing.T) {
	device, file := loopDevice(t, 8*mib, "4096")
	d, err := blk.OpenFile(context.Background(), device, blk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info := d.Info()
	if !info.Block || info.Size != 8*mib || info.OffsetAlign != 4096 || info.DiscardGranularity == 0 {
		t.Errorf("%+v", info)
	}
	r := newRig(t, d, rigOptions{})
	want := bytes.Repeat([]byte("sector"), 3*512/6)
	r.write(0, 3, want) // 512-byte sectors inside 4096-byte units
	if !bytes.Equal(r.read(0, 3, len(want)), want) {
		t.Error("content differs")
	}
	r.write(0, 64, bytes.Repeat([]byte{1}, 8192))
	for _, c := range []answerCase{
		{"zeroes with edges", zeroes, 0, segment(65, 14, 0), 0, 1, 0},
		{"flush", blk.RequestFlush, 0, nil, 0, 1, 0},
		{"discard", discard, 0, segment(80, 8, 0), 0, 1, 0},
	} {
		if a := r.request(0, c.kind, c.sector, c.out, c.in); a.status != c.status {
			t.Errorf("%s: status %d", c.name, a.status)
		}
	}
	got := r.read(0, 64, 8192)
	if got[0] != 1 || got[8191] != 1 || !bytes.Equal(got[512:8192-512], make([]byte, 8192-1024)) {
		t.Error("zeroes hit the wrong sectors")
	}
	r.close0(d)
	onDisk, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(onDisk[3*512:3*512+len(want)], want) {
		t.Errorf("the file behind the device: %v, or its content differs", err)
	}
}

// TestBlockDeviceIsClaimed: the exclusive claim is waited for like a lock, and given free with it.
func TestBlockDeviceIsClaimed(t *testing.T) {
	device, _ := loopDevice(t, mib, "512")
	open := func(timeout time.Duration) (*blk.FileDisk, error) {
		return blk.OpenFile(context.Background(), device, blk.FileOptions{LockTimeout: timeout})
	}
	claim := func() (int, error) { return unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0) }
	a, err := open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	if fd, err := claim(); !errors.Is(err, unix.EBUSY) {
		_ = unix.Close(fd)
		t.Errorf("claimed by another: %v", err)
	}
	var locked *blk.LockedError
	if _, err := open(0); !errors.As(err, &locked) {
		t.Errorf("second open: %v", err)
	}
	a.Unlock()
	fd, err := claim()
	if err != nil {
		t.Fatalf("after Unlock: %v", err)
	}
	if _, err := open(200 * time.Millisecond); !errors.As(err, &locked) || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("open of a claimed device: %v", err)
	}
	_ = unix.Close(fd)
	if err := a.Lock(context.Background()); err != nil {
		t.Error(err)
	}
}
