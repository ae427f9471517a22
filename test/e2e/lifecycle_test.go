package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// hammer keeps a mounted /mnt busy until /tmp/stop exists: write past the page cache, read past it, compare.
const hammer = `i=0
while [ ! -e /tmp/stop ]; do
	f=/mnt/hammer$((i % 4))
	dd if=/payload of=$f bs=128k oflag=direct 2>/dev/null || exit 1
	dd if=$f bs=128k iflag=direct 2>/dev/null | cmp - /payload || exit 2
	i=$((i + 1)); echo $i >/tmp/rounds
done
echo $i`

// rounds waits until the hammer has done more rounds.
func (v *vm) rounds(more string) {
	v.t.Helper()
	v.run("start=$(cat /tmp/rounds 2>/dev/null || echo 0); n=0\n" +
		"until [ $(cat /tmp/rounds 2>/dev/null || echo 0) -ge $((start + " + more + ")) ]; do\n" +
		"n=$((n + 1)); [ $n -lt 3600 ] || { echo the disk stands still; exit 1; }; usleep 50000; done")
}

// hammered is what the hammer leaves.
var hammered = map[string][]byte{"/seed": seed, "/hammer0": payload, "/hammer1": payload, "/hammer2": payload, "/hammer3": payload}

func TestGuestReboot(t *testing.T) {
	testReboot(t, func(g *vm) {
		g.run("umount /mnt")
		must(t, g.Send("reboot -f"))
	})
}

func TestSystemReset(t *testing.T) {
	testReboot(t, func(g *vm) {
		// The file system stays mounted and busy: the reset pulls the plug.
		g.run("sync")
		must(t, g.Background("hammer", hammer))
		g.rounds("2")
		g.qmp("system_reset", nil)
	})
}

func testReboot(t *testing.T, reboot func(*vm)) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{})
	g.run("mount -t ext4 /dev/vda /mnt; cat /payload >/mnt/first; sync")
	reboot(g)
	g.waitBoot()
	g.run("mount -t ext4 /dev/vda /mnt") // replays the journal where that is needed
	equal(t, "file of the boot before", g.sum("/mnt/first"), guest.Sum(payload))
	g.run("umount /mnt")
	g.exercise("vda", "second")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/first": payload, "/second": payload})
}

// busy writes and verifies again and again until /tmp/stop exists: however slow the rest is, there is a write to come. It begins
// each round on zeros: fio (3.33) would not tell its data from those of the round before.
const busy = `while [ ! -e /tmp/stop ]; do
	dd if=/dev/zero of=/dev/vda bs=1M seek=32 count=64 oflag=direct 2>/dev/null || exit 1
	/tools/fio --name=busy --filename=/dev/vda --offset=32m --size=64m --bs=4k --rw=randwrite \
		--direct=1 --ioengine=libaio --iodepth=32 --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal || exit 2
done`

func TestStopContUnderIO(t *testing.T) {
	m, _, g := startFio(t)
	must(t, g.Background("busy", busy))
	written := func() time.Time {
		fi, err := os.Stat(m.Path)
		must(t, err)
		return fi.ModTime()
	}
	last := written()
	for range 8 {
		eventually(t, "the guest writes", runTime, func() bool { return !written().Equal(last) })
		g.qmp("stop", nil)
		last = written()
		time.Sleep(200 * time.Millisecond) // the time in which nothing may happen
		equal(t, "time of the last write while the guest is stopped", written(), last)
		g.qmp("cont", nil)
	}
	g.run("touch /tmp/stop")
	g.finished("busy")
	g.exercise("vda", "new")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}

func TestHotUnplugAndPlug(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	disk := guest.Disk{ID: "disk0", Socket: b.Socket, NumQueues: 2}
	g := startGuest(t, guest.Options{Disks: []guest.Disk{disk}}, guest.Contents{})
	g.exercise("vda", "new0")
	for _, name := range []string{"new1", "new2"} {
		g.qmp("device_del", map[string]string{"id": disk.ID})
		must(t, g.QMP.WaitEvent("DEVICE_DELETED", runTime, func(data json.RawMessage) bool {
			return strings.Contains(string(data), `"device": "disk0"`)
		}))
		equal(t, "disks after device_del", g.run("ls /sys/block | grep -c ^vd || true"), "0")
		g.qmp("chardev-remove", map[string]string{"id": "chr-" + disk.ID})
		g.qmp("chardev-add", map[string]any{"id": "chr-" + disk.ID, "backend": map[string]any{
			"type": "socket", "data": map[string]any{
				"server": false, "addr": map[string]any{"type": "unix", "data": map[string]string{"path": b.Socket}},
			},
		}})
		g.qmp("device_add", map[string]any{
			"driver": "vhost-user-blk-pci", "id": disk.ID, "chardev": "chr-" + disk.ID, "num-queues": 2,
		})
		g.run("n=0; until [ -b /dev/vda ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; usleep 50000; done")
		g.exercise("vda", name)
	}
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new0": payload, "/new1": payload, "/new2": payload})
}

// TestQEMUQuits shows that an export outlives its front-end: QEMU quits and another one connects.
func TestQEMUQuits(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	first := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{})
	first.exercise("vda", "first")
	must(t, first.Quit())
	checkImage(t, m, map[string][]byte{"/seed": seed, "/first": payload}) // vublk still runs

	// Other rings, other queues: nothing of the first session may be left.
	second := startGuest(t, oneDisk(b.Socket, 1, "event_idx=off"), guest.Contents{})
	second.exercise("vda", "second")
	second.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/first": payload, "/second": payload})
}

// TestQEMUKilled kills QEMU in mid-I/O. What the guest had been told is on disk must be there for the next guest.
func TestQEMUKilled(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	first := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{})
	first.run("mount -t ext4 /dev/vda /mnt")
	must(t, first.Background("hammer", hammer))
	must(t, first.Background("sync", `i=0
while true; do
	dd if=/payload of=/mnt/synced$i bs=256k conv=fsync 2>/dev/null && sync && echo "[synced$i]" >/dev/console
	i=$((i + 1))
done`))
	eventually(t, "some files are synced", runTime, func() bool { return strings.Contains(first.Console(), "[synced3]") })
	must(t, first.Kill())

	dirty, err := m.NeedsRecovery()
	must(t, err)
	equal(t, "the journal needs recovery after the kill", dirty, true)

	second := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{})
	second.run("mount -t ext4 /dev/vda /mnt")
	files := map[string][]byte{"/seed": seed, "/new": payload}
	for _, line := range strings.Split(first.Console(), "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "[synced"); ok {
			files["/synced"+strings.TrimSuffix(name, "]")] = payload
		}
	}
	for name, want := range files {
		if name != "/new" {
			equal(t, name+" in the second guest", second.sum("/mnt"+name), guest.Sum(want))
		}
	}
	second.run("umount /mnt")
	second.exercise("vda", "new")
	second.powerOff()
	checkImage(t, m, files)
}

// TestVublkRestarts ends vublk in the orderly way under a busy guest and starts it again: the guest only waits.
func TestVublkRestarts(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	o := oneDisk(b.Socket, 2, "")
	o.Disks[0].Reconnect = true
	g := startGuest(t, o, guest.Contents{})
	g.run("mount -t ext4 /dev/vda /mnt")
	must(t, g.Background("hammer", hammer))
	for range 3 {
		g.rounds("1")
		must(t, b.Stop())
		b = startVublkAt(t, b.Socket, m)
		g.rounds("2")
	}
	g.run("touch /tmp/stop")
	t.Log("rounds:", g.finished("hammer"))
	g.run("umount /mnt")
	g.powerOff()
	checkImage(t, m, hammered)
}
