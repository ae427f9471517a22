package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// TestTwoExports puts two disks of one vublk into one guest and copies between them.
func TestTwoExports(t *testing.T) {
	dir := newDir(t)
	var images []guest.Image
	var sockets, args []string
	o := guest.Options{}
	args = append(args, "serve")
	for i := range 2 {
		m := seededImage(t, filepath.Join(dir, fmt.Sprintf("disk%d.img", i)), 128*mib)
		socket := filepath.Join(dir, fmt.Sprintf("vublk%d.sock", i))
		images, sockets = append(images, m), append(sockets, socket)
		args = append(args, "--export", fmt.Sprintf("socket-path=%s,blk-file=%s,serial=disk-%d", socket, m.Path, i))
		o.Disks = append(o.Disks, guest.Disk{ID: fmt.Sprintf("disk%d", i), Socket: socket, NumQueues: 2})
	}
	startBackend(t, sockets, args...)
	g := startGuest(t, o, guest.Contents{})
	g.run(`mkdir -p /mnt/a /mnt/b
		a=$(dirname $(grep -l disk-0 /sys/block/vd*/serial)); b=$(dirname $(grep -l disk-1 /sys/block/vd*/serial))
		mount -t ext4 /dev/$(basename $a) /mnt/a; mount -t ext4 /dev/$(basename $b) /mnt/b`)
	g.run(`cat /payload >/mnt/a/only-a; cat /payload >/mnt/b/only-b
		dd if=/payload of=/mnt/a/both bs=64k oflag=direct 2>/dev/null &
		dd if=/payload of=/mnt/b/both bs=64k oflag=direct 2>/dev/null; wait
		sync; echo 3 >/proc/sys/vm/drop_caches`)
	g.run("cp /mnt/a/both /mnt/b/from-a; cp /mnt/b/both /mnt/a/from-b; sync")
	g.run("umount /mnt/a /mnt/b")
	g.powerOff()
	checkImage(t, images[0], map[string][]byte{"/seed": seed, "/only-a": payload, "/both": payload, "/from-b": payload})
	checkImage(t, images[1], map[string][]byte{"/seed": seed, "/only-b": payload, "/both": payload, "/from-a": payload})
}

// TestMemoryHotplug adds memory twice while the disk is busy. The guest boots with memory below 4 GiB only; what is
// plugged lies above and is what Linux prefers from then on, so later I/O is I/O to the new regions.
func TestMemoryHotplug(t *testing.T) {
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m, "--trace-messages")
	o := oneDisk(b.Socket, 2, "")
	o.MaxMemory, o.Append = 2048, "memhp_default_state=online"
	g := startGuest(t, o, guest.Contents{})
	g.run("mount -t ext4 /dev/vda /mnt")
	must(t, g.Background("hammer", hammer))
	g.rounds("2")
	equal(t, "zone Normal before", g.run("grep -c 'zone *Normal' /proc/buddyinfo || true"), "0")
	for i := range 2 {
		before := g.run("sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")
		id, added := fmt.Sprintf("mem%d", i+1), strings.Count(b.Log(), "ADD_MEM_REG")
		g.qmp("object-add", map[string]any{"qom-type": "memory-backend-memfd", "id": id, "size": 256 * mib, "share": true})
		g.qmp("device_add", map[string]any{"driver": "pc-dimm", "id": "dimm-" + id, "memdev": id})
		g.run("n=0; until [ $(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo) -ge $((" + before + " + 240000)) ]; do\n" +
			"n=$((n + 1)); [ $n -lt 400 ] || exit 1; usleep 50000; done")
		if got := strings.Count(b.Log(), "ADD_MEM_REG"); got <= added {
			t.Errorf("vublk's trace shows no ADD_MEM_REG for %s", id)
		}
		equal(t, "zone Normal after", g.run("grep -c 'zone *Normal' /proc/buddyinfo"), "1")
		g.rounds("2")
	}
	g.run("touch /tmp/stop")
	t.Log("rounds:", g.finished("hammer"))
	// The page cache of what follows is in the new memory.
	g.run("rm /tmp/stop; umount /mnt")
	g.exercise("vda", "new")
	g.powerOff()
	files := map[string][]byte{"/new": payload}
	for name, data := range hammered {
		files[name] = data
	}
	checkImage(t, m, files)
}

// TestBootLoader boots from the disk alone: SeaBIOS reads the master boot record through vublk, GRUB its own core, the
// kernel and the initramfs from the ext4 partition, which then is the root file system.
//
// It is GRUB because GRUB copies what it read to where it runs it. TCG does not see what another process writes to the
// guest's memory, so a loader that reads the next stage over code that has run already (syslinux's MBR does, at 0x7c00)
// goes on executing the old translation; under KVM that would do.
func TestBootLoader(t *testing.T) {
	dir := newDir(t)
	initramfs := filepath.Join(dir, "initramfs")
	must(t, guest.Initramfs(lab.kernel, initramfs, guest.Contents{}))
	kernel, err := os.ReadFile(lab.kernel.Image)
	must(t, err)
	initrd, err := os.ReadFile(initramfs)
	must(t, err)
	top := filepath.Join(dir, "root")
	must(t, guest.RootTree(top, withPayload(guest.Contents{Files: map[string]string{
		"/boot/vmlinuz": string(kernel), "/boot/initrd": string(initrd), "/seed": string(seed),
	}})))
	m := partitionedImage(t, filepath.Join(dir, "disk.img"), 160*mib)
	must(t, m.Mkfs(top))
	installGRUB(t, dir, m, "linux (hd0,msdos1)/boot/vmlinuz "+guest.KernelWords+" vublk.root=/dev/vda1\n"+
		"initrd (hd0,msdos1)/boot/initrd\nboot\n")

	b := startVublk(t, m)
	o := oneDisk(b.Socket, 1, "bootindex=0")
	o.Dir = newDir(t)
	g := boot(t, o)
	if !strings.Contains(g.Console(), "GRUB starts the guest") {
		t.Error("the console does not show GRUB")
	}
	equal(t, "root device", g.run(`awk '$2 == "/" && $3 == "ext4" {print $1}' /proc/mounts`), "/dev/vda1")
	equal(t, "seed read in the guest", g.sum("/seed"), guest.Sum(seed))
	g.run("cat /payload >/root/new; sync; echo 3 >/proc/sys/vm/drop_caches")
	equal(t, "payload read in the guest", g.sum("/root/new"), guest.Sum(payload))
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/root/new": payload, "/boot/vmlinuz": kernel})
}

// partitionedImage makes an image of one partition, from 1 MiB to the end. The partition's image is returned.
func partitionedImage(t *testing.T, path string, size int64) guest.Image {
	t.Helper()
	m, err := guest.CreateSparse(path, size)
	must(t, err)
	_, err = guest.HostInput("label: dos\nstart=1MiB, type=83, bootable\n", "sfdisk", "--quiet", path)
	must(t, err)
	m.Offset = mib
	return m
}

// installGRUB does what grub-install does, on an image: the boot record, and behind it the core with a fixed script.
func installGRUB(t *testing.T, dir string, m guest.Image, script string) {
	t.Helper()
	const modules = "/usr/lib/grub/i386-pc"
	must(t, os.WriteFile(filepath.Join(dir, "grub.cfg"), []byte("serial --unit=0 --speed=115200\nterminal_output serial\necho GRUB starts the guest\n"+script), 0o644))
	core := filepath.Join(dir, "core.img")
	mustHost(t, "grub-mkimage", "-O", "i386-pc", "-d", modules, "-p", "/boot/grub", "-c", filepath.Join(dir, "grub.cfg"), "-o", core,
		"biosdisk", "part_msdos", "ext2", "linux", "serial", "terminal", "echo", "boot")
	// Its defaults say that the core begins with sector 1.
	mustHost(t, "dd", "if="+modules+"/boot.img", "of="+m.Path, "bs=440", "count=1", "conv=notrunc", "status=none")
	mustHost(t, "dd", "if="+core, "of="+m.Path, "bs=512", "seek=1", "conv=notrunc", "status=none")
}
