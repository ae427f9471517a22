package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/test/e2e/guest"
)

// startFio boots a guest that has fio, and a disk of 96 MiB whose first 32 are a file system.
func startFio(t *testing.T) (guest.Image, backend, *vm) {
	t.Helper()
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 32*mib)
	must(t, os.Truncate(m.Path, 96*mib)) // fio works behind the file system
	b := startVublk(t, m)
	o := oneDisk(b.Socket, 2, "")
	o.Memory = 768
	return m, b, startGuest(t, o, guest.Contents{Tools: []string{"fio"}})
}

// TestFioVerify lets fio write every block of a region with its own check sum, in random order at depth, and verify, in
// the guest and again on the host.
func TestFioVerify(t *testing.T) {
	m, b, g := startFio(t)
	jobs := [][]string{
		{"--offset=32m", "--size=24m", "--bs=4k"},
		{"--offset=64m", "--size=32m", "--bsrange=512-64k", "--blockalign=512"},
	}
	for i, job := range jobs {
		jobs[i] = append(job, "--name=verify", "--rw=randwrite", "--direct=1", "--ioengine=libaio", "--iodepth=16",
			"--verify=crc32c", "--verify_fatal=1", "--randrepeat=1", "--minimal")
		g.run("/tools/fio --filename=/dev/vda --do_verify=1 " + strings.Join(jobs[i], " "))
	}
	g.exercise("vda", "new")
	g.powerOff()
	must(t, b.Stop())
	for _, job := range jobs {
		mustHost(t, "fio", append(job, "--filename="+m.Path, "--verify_only=1")...)
	}
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
}

// TestImageReadByOthers writes an image through vublk and reads it with QEMU's own code and the host's kernel, and the
// other way round.
func TestImageReadByOthers(t *testing.T) {
	dir := newDir(t)
	m, err := guest.CreateSparse(filepath.Join(dir, "disk.img"), 128*mib)
	must(t, err)
	must(t, m.Mkfs(""))
	mounted(t, m.Path, func(mnt string) {
		must(t, os.WriteFile(filepath.Join(mnt, "seed"), seed, 0o644))
	})
	// Through another format and back: qemu-img wrote every byte of the image that vublk serves.
	qcow, raw := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "again.img")
	mustHost(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", m.Path, qcow)
	mustHost(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow, raw)
	m.Path = raw

	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 0, ""), guest.Contents{})
	g.exercise("vda", "new")
	sum := g.run("sha256sum </dev/vda | cut -d' ' -f1")
	g.powerOff()
	must(t, b.Stop())

	got, err := m.SumFile()
	must(t, err)
	equal(t, "sum of the disk, guest and host", got, sum)
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload})
	mustHost(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	mustHost(t, "qemu-img", "check", qcow)
	mustHost(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow)
	mounted(t, raw, func(mnt string) {
		for name, want := range map[string][]byte{"seed": seed, "new": payload} {
			data, err := os.ReadFile(filepath.Join(mnt, name))
			must(t, err)
			equal(t, name+" through a loop mount", guest.Sum(data), guest.Sum(want))
		}
	})
}

func mustHost(t *testing.T, name string, args ...string) {
	t.Helper()
	_, err := guest.Host(name, args...)
	must(t, err)
}

// mounted loop-mounts an image while f runs. It needs root, by itself or through sudo.
func mounted(t *testing.T, image string, f func(mnt string)) {
	t.Helper()
	root := func(name string, args ...string) {
		t.Helper()
		if os.Getuid() != 0 {
			name, args = "sudo", append([]string{"-n", name}, args...)
		}
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	mnt := newDir(t)
	root("mount", "-t", "ext4", "-o", "loop", image, mnt)
	defer root("umount", mnt)
	if os.Getuid() != 0 {
		root("chmod", "-R", "a+rwX", mnt)
	}
	f(mnt)
}
