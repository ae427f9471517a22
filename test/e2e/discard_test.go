package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// TestDiscard shows that fstrim in the guest gives the host its blocks back.
func TestDiscard(t *testing.T) {
	const fill = 96 * mib
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 256*mib)
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{Tools: []string{"fstrim", "blkdiscard"}})
	if got := g.queue("vda", "discard_max_bytes"); got == "0" {
		t.Fatal("the guest sees no discard")
	}
	allocated := func(when string) int64 {
		n, err := m.Allocated()
		must(t, err)
		t.Logf("du %s: %d KiB", when, n>>10)
		return n
	}

	// Zeroes would do as well, but only as long as nothing on the way detects them.
	g.run("mount -t ext4 /dev/vda /mnt; cat /payload >/mnt/keep")
	g.run("for i in $(seq 24); do cat /payload; done >/mnt/fill; sync")
	full := allocated("with the file")
	g.run("rm /mnt/fill; sync")
	if deleted := allocated("after rm"); deleted < full-fill/2 {
		t.Errorf("rm alone gave blocks back (%d -> %d): the file system is mounted with discard?", full, deleted)
	}
	t.Log(g.run("/tools/fstrim -v /mnt"))
	trimmed := allocated("after fstrim")
	if full-trimmed < fill*9/10 {
		t.Errorf("fstrim freed %d bytes of the image, want about %d", full-trimmed, fill)
	}
	equal(t, "kept file after fstrim", g.sum("/mnt/keep"), guest.Sum(payload))
	g.run("umount /mnt")
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/keep": payload})
}

// TestWriteZeroes works on the raw disk: zeroes appear exactly where they were asked for.
func TestWriteZeroes(t *testing.T) {
	path := filepath.Join(newDir(t), "disk.img")
	m, err := guest.CreateSparse(path, 64*mib)
	must(t, err)
	data := noise(16*mib, 3)
	must(t, os.WriteFile(path, data, 0o644))
	must(t, os.Truncate(path, 64*mib))
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{Tools: []string{"blkdiscard"}})
	if got := g.queue("vda", "write_zeroes_max_bytes"); got == "0" {
		t.Fatal("the guest sees no write zeroes")
	}

	equal(t, "disk read in the guest", g.run("head -c 16777216 /dev/vda | sha256sum | cut -d' ' -f1"), guest.Sum(data))
	g.run("/tools/blkdiscard -z -o 1048576 -l 2097152 /dev/vda") // whole blocks of the host
	g.run("/tools/blkdiscard -z -o 8389120 -l 1049600 /dev/vda") // 512-byte edges inside the host's blocks
	g.run("/tools/blkdiscard -o 12582912 -l 1048576 /dev/vda")   // on a file a hole: reads as zeroes
	clear(data[1*mib : 3*mib])
	clear(data[8389120 : 8389120+1049600])
	clear(data[12*mib : 13*mib])
	g.run("echo 3 >/proc/sys/vm/drop_caches")
	equal(t, "disk read in the guest", g.run("head -c 16777216 /dev/vda | sha256sum | cut -d' ' -f1"), guest.Sum(data))
	g.powerOff()

	got, err := os.ReadFile(path)
	must(t, err)
	equal(t, "sum on the host", guest.Sum(got[:16*mib]), guest.Sum(data))
	equal(t, "sum of the rest on the host", guest.Sum(got[16*mib:]), guest.Sum(make([]byte, 48*mib)))
}
