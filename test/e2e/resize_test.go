package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

const gib = 1 << 30

// seesSize waits until the guest's kernel knows a size of the disk, in GiB.
func (v *vm) seesSize(disk, gibs string) {
	v.t.Helper()
	v.run("n=0; until [ $(cat /sys/block/" + disk + "/size) -eq $((" + gibs + " << 21)) ]; do\n" +
		"n=$((n + 1)); [ $n -lt 400 ] || { cat /sys/block/" + disk + "/size; exit 1; }; usleep 50000; done")
}

// writesNewHalf has the guest write the payload, past its page cache, to 1.5 GiB of a disk of 2 GiB, and looks for it from
// the host.
func (v *vm) writesNewHalf(disk string, m guest.Image) {
	v.t.Helper()
	v.run("dd if=/payload of=/dev/" + disk + " bs=1M seek=1536 oflag=direct conv=notrunc,fsync 2>/dev/null\n" +
		"dd if=/dev/" + disk + " bs=1M skip=1536 count=4 iflag=direct 2>/dev/null | cmp - /payload")
	checkRaw(v.t, m, 1536*mib)
}

// TestGrow makes a disk larger under a busy guest, which sees it without a reboot, and has its file system grow.
func TestGrow(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), gib)
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{Tools: []string{"resize2fs"}})
	g.seesSize("vda", "1")
	g.run("mount -t ext4 /dev/vda /mnt")
	must(t, g.Background("hammer", hammer))
	g.rounds("1")
	must(t, os.Truncate(m.Path, 2*gib))
	must(t, syscall.Kill(b.PID(), syscall.SIGHUP))
	g.seesSize("vda", "2")
	g.writesNewHalf("vda", m)
	g.rounds("1")
	g.run("/tools/resize2fs /dev/vda && [ $(df -k /mnt | awk 'END {print $2}') -gt 1500000 ]")
	g.rounds("1")
	g.run("touch /tmp/stop")
	t.Log("rounds:", g.finished("hammer"))
	if want := "old=1GiB new=2GiB"; strings.Count(b.Log(), want) != 1 {
		t.Errorf("the log does not say %q once:\n%s", want, b.Log())
	}
	g.run("umount /mnt")
	g.powerOff()
	checkImage(t, m, hammered)
}

// TestGrowWhileDisconnected ends vublk, and starts it again on a larger image. QEMU does not ask for the size when it
// reconnects, and the new process does not know what the old one had said.
func TestGrowWhileDisconnected(t *testing.T) {
	m, err := guest.CreateSparse(filepath.Join(newDir(t), "disk.img"), gib)
	must(t, err)
	b := startVublk(t, m)
	o := oneDisk(b.Socket, 2, "")
	o.Disks[0].Reconnect = true
	g := startGuest(t, o, guest.Contents{})
	g.seesSize("vda", "1")
	g.run("dd if=/payload of=/dev/vda bs=1M oflag=direct conv=notrunc 2>/dev/null")
	must(t, b.Stop())
	must(t, os.Truncate(m.Path, 2*gib))
	b = startVublkAt(t, b.Socket, m, "--trace-messages")
	g.seesSize("vda", "2")
	g.writesNewHalf("vda", m)
	equal(t, "CONFIG_CHANGE", strings.Count(b.Log(), "request=CONFIG_CHANGE_MSG"), 1)
	g.powerOff()
	checkRaw(t, m, 0)
}

// checkRaw compares the payload with an image's bytes.
func checkRaw(t *testing.T, m guest.Image, at int64) {
	t.Helper()
	f, err := os.Open(m.Path)
	must(t, err)
	defer func() { _ = f.Close() }()
	got := make([]byte, len(payload))
	_, err = f.ReadAt(got, at)
	must(t, err)
	equal(t, "sum of what the host reads", guest.Sum(got), guest.Sum(payload))
}
