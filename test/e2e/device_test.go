package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// Feature bits as the guest's sysfs numbers them (virtio-v1.3 6 and 5.2.3).
const (
	featureRO           = 5
	featureIndirectDesc = 28
	featureEventIdx     = 29
	featureRingPacked   = 34
)

// oneDisk is a guest with one disk.
func oneDisk(socket string, queues int, options string) guest.Options {
	return guest.Options{Disks: []guest.Disk{{ID: "disk0", Socket: socket, NumQueues: queues, Options: options}}}
}

func TestRootFileSystem(t *testing.T) {
	dir := newDir(t)
	top := filepath.Join(dir, "root")
	must(t, guest.RootTree(top, withPayload(guest.Contents{
		Tools: []string{"e2fsck", "sfdisk", "bash"}, // with their libraries: files to read and check
		Files: map[string]string{"/seed": string(seed)},
	})))
	sums, err := guest.Host("sh", "-c", "cd "+top+" && find . -type f ! -name SUMS -print0 | xargs -0 sha256sum >SUMS && cat SUMS")
	must(t, err)
	m, err := guest.CreateSparse(filepath.Join(dir, "root.img"), 512*mib)
	must(t, err)
	must(t, m.Mkfs(top))

	b := startVublk(t, m, "--num-queues=4")
	o := oneDisk(b.Socket, 4, "")
	o.CPUs, o.Append = 4, "vublk.root=/dev/vda"
	g := startGuest(t, o, guest.Contents{})

	equal(t, "root device", g.run(`awk '$2 == "/" && $3 == "ext4" {print $1}' /proc/mounts`), "/dev/vda")
	equal(t, "CPUs", g.run("nproc"), "4")
	equal(t, "hardware queues", g.run("ls /sys/block/vda/mq | wc -l"), "4")
	g.run("cd / && sha256sum -s -c SUMS") // -s: only the status
	// Every CPU, thus every queue, writes and reads back at the same time.
	g.run(`for cpu in 0 1 2 3; do
		(taskset -c $cpu dd if=/payload of=/root/new$cpu bs=256k conv=fsync 2>/dev/null && touch /tmp/ok$cpu) &
	done; wait; ls /tmp/ok0 /tmp/ok1 /tmp/ok2 /tmp/ok3`)
	g.run("echo 3 >/proc/sys/vm/drop_caches")
	for _, name := range []string{"/root/new0", "/root/new1", "/root/new2", "/root/new3"} {
		equal(t, name+" read in the guest", g.sum(name), guest.Sum(payload))
	}
	interrupts := g.run(`grep -c 'virtio.*-req\.' /proc/interrupts`)
	equal(t, "queue interrupts", interrupts, "4")
	g.powerOff()

	checkImage(t, m, map[string][]byte{
		"/seed": seed, "/SUMS": []byte(sums),
		"/root/new0": payload, "/root/new1": payload, "/root/new2": payload, "/root/new3": payload,
	})
}

func TestPackedRing(t *testing.T) {
	testRing(t, "packed=on", map[int]bool{featureRingPacked: true, featureEventIdx: true, featureIndirectDesc: true})
}

func TestPackedRingPlain(t *testing.T) {
	testRing(t, "packed=on,event_idx=off,indirect_desc=off", map[int]bool{featureRingPacked: true, featureEventIdx: false, featureIndirectDesc: false})
}

func TestSplitRingPlain(t *testing.T) {
	testRing(t, "event_idx=off,indirect_desc=off", map[int]bool{featureRingPacked: false, featureEventIdx: false, featureIndirectDesc: false})
}

// testRing runs one of the ring formats and notification modes that a front-end can choose.
func testRing(t *testing.T, options string, features map[int]bool) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 2, options), guest.Contents{})
	for bit, want := range features {
		if got := g.feature("vda", bit); got != want {
			t.Errorf("feature bit %d negotiated: %v, want %v", bit, got, want)
		}
	}
	g.exercise("vda", "new")
	// Small direct requests go round the ring many times.
	g.run("dd if=/dev/vda of=/dev/null bs=4k count=2000 iflag=direct 2>/dev/null")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}

func TestReadOnly(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 128*mib)
	// A read-only image must do for a read-only export.
	must(t, os.Chmod(m.Path, 0o444))
	before, err := m.SumFile()
	must(t, err)
	b := startVublk(t, m, "--read-only")
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{})

	equal(t, "feature RO", g.feature("vda", featureRO), true)
	equal(t, "ro in sysfs", g.run("cat /sys/block/vda/ro"), "1")
	g.refuse("dd if=/payload of=/dev/vda bs=64k count=1 conv=fsync")
	g.refuse("mount -t ext4 -o rw /dev/vda /mnt && touch /mnt/file")
	g.run("umount /mnt 2>/dev/null || true; mount -t ext4 -o ro,noload /dev/vda /mnt")
	equal(t, "seed read in the guest", g.sum("/mnt/seed"), guest.Sum(seed))
	g.refuse("echo 1 >/mnt/file")
	g.powerOff()

	after, err := m.SumFile()
	must(t, err)
	equal(t, "sum of the whole image", after, before)
	checkImage(t, m, map[string][]byte{"/seed": seed})
}

func TestLogicalBlockSize4096(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 128*mib, "-b", "4096")
	b := startVublk(t, m, "--logical-block-size=4096")
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{Tools: []string{"dd"}})

	equal(t, "logical_block_size", g.queue("vda", "logical_block_size"), "4096")
	equal(t, "physical_block_size", g.queue("vda", "physical_block_size"), "4096")
	// Not busybox's dd: it falls back to buffered reads.
	g.refuse("/tools/dd if=/dev/vda of=/dev/null bs=512 count=1 iflag=direct")
	g.run("/tools/dd if=/dev/vda of=/dev/null bs=4096 count=1 iflag=direct")
	g.exercise("vda", "new")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}

func TestWriteThrough(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 128*mib)
	b := startVublk(t, m, "--cache=writethrough")
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{})

	equal(t, "write_cache", g.queue("vda", "write_cache"), "write through")
	g.exercise("vda", "new")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}

func TestWriteBackIsTheDefault(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 128*mib)
	b := startVublk(t, m, "--serial=e2e-0123456789")
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{})

	equal(t, "write_cache", g.queue("vda", "write_cache"), "write back")
	equal(t, "logical_block_size", g.queue("vda", "logical_block_size"), "512")
	equal(t, "serial", strings.TrimSpace(g.run("cat /sys/block/vda/serial")), "e2e-0123456789")
	equal(t, "size in sectors", g.run("cat /sys/block/vda/size"), "262144")
	g.exercise("vda", "new")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}
