package customdisk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

const (
	mib      = 1 << 20
	diskSize = 64 * mib
	runTime  = 5 * time.Minute // a script in a guest, on a slow machine
)

// payload is what guests write. It is known here, so a guest's idea of what it wrote is never trusted.
var payload = noise(4*mib, 1)

func noise(n int, key byte) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{key}).Read(data) // never fails
	return data
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is an image, its key, and the example that serves it.
type rig struct {
	t                  *testing.T
	dir                string
	image, key, socket string
	backend            *guest.Backend
	secret             []byte
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, secret: noise(64, 2)}
	r.image, r.key, r.socket = filepath.Join(dir, "disk.raw"), filepath.Join(dir, "key"), filepath.Join(dir, "vm.sock")
	_, err = guest.CreateSparse(r.image, diskSize)
	must(t, err)
	must(t, os.WriteFile(r.key, r.secret, 0o600))
	r.serve()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("customdisk said:\n%s", r.backend.Log())
		}
	})
	return r
}

func (r *rig) serve() {
	r.t.Helper()
	b, err := guest.StartBackend(filepath.Join(r.dir, "log"), []string{r.socket}, lab.customdisk, r.image, r.key, r.socket)
	must(r.t, err)
	r.backend = b
	r.t.Cleanup(b.Kill)
}

// read returns the whole disk as a front-end sees it.
func (r *rig) read() []byte {
	r.t.Helper()
	g := clitest.Attach(r.t, r.socket, vhostusertest.Options{})
	disk := make([]byte, diskSize)
	for off := 0; off < diskSize; off += clitest.Room {
		if status := g.Do(0, clitest.In, uint64(off)/512, disk[off:off+clitest.Room]); status != clitest.StatusOK {
			r.t.Fatalf("read at %d: status %d", off, status)
		}
	}
	return disk
}

// boot starts a guest with the encrypted disk as vda and the image as it is, from vublk, as vdb.
func (r *rig) boot() *guest.Guest {
	r.t.Helper()
	plain := filepath.Join(r.dir, "plain.sock")
	b, err := guest.StartBackend(filepath.Join(r.dir, "vublk.log"), []string{plain},
		lab.vublk, "serve", "--socket-path="+plain, "--blk-file="+r.image, "--read-only")
	must(r.t, err)
	r.t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			r.t.Error(err)
		}
	})
	o := guest.Options{
		Dir: r.dir, Kernel: lab.kernel.Image, Initramfs: filepath.Join(r.dir, "initramfs"),
		Disks: []guest.Disk{{ID: "disk0", Socket: r.socket, Reconnect: true}, {ID: "disk1", Socket: plain}},
	}
	must(r.t, guest.Initramfs(lab.kernel, o.Initramfs, guest.Contents{
		Modules: []string{"dm-crypt", "xts", "ecb"},
		Tools:   []string{"sfdisk", "mke2fs", "blkdiscard", "dmsetup"},
		Files:   map[string]string{"/payload": string(payload)},
	}))
	g, err := guest.Start(o)
	must(r.t, err)
	r.t.Cleanup(g.Close)
	_, err = g.WaitReady()
	must(r.t, err)
	return g
}

// TestGuest: a guest partitions the example's disk, makes a file system, writes and reads back, before and after the example
// is killed and started again. Then the guest's own kernel decrypts the image by itself and finds the same disk.
func TestGuest(t *testing.T) {
	r := newRig(t)
	g := r.boot()
	run := func(script string) string {
		t.Helper()
		res, err := g.Run("set -e\n"+script, runTime)
		must(t, err)
		if res.Status != 0 {
			t.Fatalf("guest: status %d of:\n%s\n%s", res.Status, script, res.Output)
		}
		return strings.TrimSpace(res.Output)
	}
	const sum = " | sha256sum | cut -d' ' -f1"
	run(`printf 'start=1MiB, size=40MiB, type=83\ntype=83\n' | /tools/sfdisk --quiet --label dos /dev/vda
		n=0; until [ -b /dev/vda2 ]; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; usleep 50000; done
		/tools/mke2fs -q -F -t ext4 /dev/vda1 && mount -t ext4 /dev/vda1 /mnt
		cat /payload >/mnt/first && cat /payload >/dev/vda2 && sync
		/tools/blkdiscard -z -o 1048576 -l 524288 /dev/vda2 && echo 3 >/proc/sys/vm/drop_caches`)
	want := guest.Sum(payload)
	if got := run("cat /mnt/first" + sum); got != want {
		t.Errorf("the guest reads %s, it wrote %s", got, want)
	}
	r.backend.Kill() // with the file system mounted
	r.serve()
	run("cat /payload >/mnt/second; sync; echo 3 >/proc/sys/vm/drop_caches")
	if got := run("cat /mnt/first /mnt/second" + sum); got != guest.Sum(append(bytes.Clone(payload), payload...)) {
		t.Error("after the back-end's death the guest reads other data than it wrote")
	}
	run("umount /mnt; sync")
	run(fmt.Sprintf(`/tools/dmsetup create plain --noudevsync --noudevrules --readonly --table "0 %d crypt aes-xts-plain64 %s 0 /dev/vdb 0"`,
		diskSize/512, hex.EncodeToString(r.secret)))
	ours, kernels := run("cat /dev/vda"+sum), run("cat /dev/dm-0"+sum)
	if ours != kernels {
		t.Errorf("the disk is %s by the example, %s by dm-crypt", ours, kernels)
	}
	run("/tools/dmsetup remove --noudevsync --noudevrules plain")
	must(t, g.PowerOff())
	r.check(ours)
	must(t, r.backend.Stop())
}

// check looks at the disk and at the image from the host.
func (r *rig) check(sum string) {
	r.t.Helper()
	disk := r.read()
	if got := guest.Sum(disk); got != sum {
		r.t.Errorf("the disk is %s for our front-end, %s for the guest", got, sum)
	}
	decrypted := filepath.Join(r.dir, "decrypted.raw")
	must(r.t, os.WriteFile(decrypted, disk[:41*mib], 0o600))
	m := guest.Image{Path: decrypted, Offset: mib}
	must(r.t, m.Fsck())
	for _, name := range []string{"/first", "/second"} {
		got, err := m.Sum(name)
		must(r.t, err)
		if got != guest.Sum(payload) {
			r.t.Errorf("%s on the host: another sum", name)
		}
	}
	second := bytes.Clone(payload)
	copy(second[mib:], make([]byte, mib/2))
	if !bytes.Equal(disk[41*mib:45*mib], second) {
		r.t.Error("the second partition does not hold the payload with zeros in it")
	}
	image, err := os.ReadFile(r.image)
	must(r.t, err)
	for at := 0; at < len(payload); at += 4096 {
		if bytes.Contains(image, payload[at:at+32]) {
			r.t.Fatalf("the image holds byte %d of the payload as the guest wrote it", at)
		}
	}
}

// TestFrontEnd: our own front-end on a disk of zeros that was written with another key is not what it was.
func TestFrontEnd(t *testing.T) {
	r := newRig(t)
	g := clitest.Attach(t, r.socket, vhostusertest.Options{Queues: 2})
	for i := range 8 {
		if status := g.Do(i%2, clitest.Out, uint64(i)*1024, payload[i*mib/2:][:mib/2]); status != clitest.StatusOK {
			t.Fatalf("write: status %d", status)
		}
	}
	if status := g.Do(0, clitest.Flush, 0, nil); status != clitest.StatusOK {
		t.Fatalf("flush: status %d", status)
	}
	must(t, g.Disconnect())
	if !bytes.Equal(r.read()[:len(payload)], payload) {
		t.Fatal("other data with the same key")
	}
	must(t, r.backend.Stop())
	must(t, os.WriteFile(r.key, noise(64, 3), 0o600))
	r.serve()
	if bytes.Contains(r.read(), payload[:16]) {
		t.Fatal("the same data with another key")
	}
	must(t, r.backend.Stop())
}
