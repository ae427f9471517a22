package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	mib     = 1 << 20
	runTime = 5 * time.Minute // a script in a guest, on a slow machine
)

// payload is what guests write: it comes with their initramfs and its sum is known here, so a guest's idea of what it
// wrote is never trusted. seed is what images hold before a guest sees them.
var (
	payload = noise(4*mib, 1)
	seed    = noise(4*mib, 2)
)

func noise(n int, key byte) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{key}).Read(data) // never fails
	return data
}

// must ends the test when something outside the case goes wrong.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// newDir makes a test's directory. Its path is short, Unix sockets live in it. VUBLK_E2E_KEEP=1 leaves it behind.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vublk-")
	must(t, err)
	if os.Getenv("VUBLK_E2E_KEEP") != "" {
		t.Log("kept:", dir)
		return dir
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// seededImage makes an image with an ext4 file system that holds /seed.
func seededImage(t *testing.T, path string, size int64, mkfs ...string) guest.Image {
	t.Helper()
	m, err := guest.CreateSparse(path, size)
	must(t, err)
	from := newDir(t)
	must(t, os.WriteFile(filepath.Join(from, "seed"), seed, 0o644))
	must(t, m.Mkfs(from, mkfs...))
	return m
}

// checkImage looks at an image from the host: the file system is clean, and the files have the sums.
func checkImage(t *testing.T, m guest.Image, files map[string][]byte) {
	t.Helper()
	if err := m.Fsck(); err != nil {
		t.Errorf("file system of the image: %v", err)
	}
	for name, want := range files {
		got, err := m.Sum(name)
		must(t, err)
		equal(t, "sum of "+name+" read on the host", got, guest.Sum(want))
	}
}

// backend is vublk under test.
type backend struct {
	*guest.Backend
	Socket string
}

// startVublk serves one image, with further options.
func startVublk(t *testing.T, m guest.Image, options ...string) backend {
	t.Helper()
	return startVublkAt(t, filepath.Join(newDir(t), "vublk.sock"), m, options...)
}

// startVublkAt is startVublk on a socket path that a front-end knows already.
func startVublkAt(t *testing.T, socket string, m guest.Image, options ...string) backend {
	t.Helper()
	args := append([]string{"serve", "--socket-path=" + socket, "--blk-file=" + m.Path}, options...)
	return startBackend(t, []string{socket}, args...)
}

// startBackend starts vublk with any arguments and checks at the test's end that it stops as it must.
func startBackend(t *testing.T, sockets []string, args ...string) backend {
	t.Helper()
	log := filepath.Join(newDir(t), "vublk.log")
	b, err := guest.StartBackend(log, sockets, append([]string{lab.vublk}, args...)...)
	must(t, err)
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("vublk %s said:\n%s", strings.Join(args, " "), tail(b.Log()))
		}
	})
	return backend{Backend: b, Socket: sockets[0]}
}

// vm is a guest of a test.
type vm struct {
	*guest.Guest
	t      *testing.T
	bootID string
}

// startGuest boots a guest by our kernel and initramfs; /payload is always part of it.
func startGuest(t *testing.T, o guest.Options, c guest.Contents) *vm {
	t.Helper()
	o.Dir = newDir(t)
	o.Kernel, o.Initramfs = lab.kernel.Image, filepath.Join(o.Dir, "initramfs")
	must(t, guest.Initramfs(lab.kernel, o.Initramfs, withPayload(c)))
	return boot(t, o)
}

// boot starts QEMU and waits for the guest's agent.
func boot(t *testing.T, o guest.Options) *vm {
	t.Helper()
	o.QEMU = lab.qemu
	v := arrive(t, o)
	v.waitBoot()
	return v
}

func withPayload(c guest.Contents) guest.Contents {
	files := map[string]string{"/payload": string(payload)}
	for name, data := range c.Files {
		files[name] = data
	}
	c.Files = files
	return c
}

// waitBoot waits for the agent of a boot that is not the one known.
func (v *vm) waitBoot() {
	v.t.Helper()
	id, err := v.WaitReady()
	must(v.t, err)
	if id == v.bootID {
		v.t.Fatal("the guest did not boot anew")
	}
	v.bootID = id
}

// run demands that a script succeeds and returns what it printed, without space at the ends.
func (v *vm) run(script string) string {
	v.t.Helper()
	r, err := v.Run("set -e\n"+script, runTime)
	must(v.t, err)
	if r.Status != 0 {
		v.t.Fatalf("guest: status %d of:\n%s\n%s", r.Status, script, r.Output)
	}
	return strings.TrimSpace(r.Output)
}

// refuse demands that a script fails.
func (v *vm) refuse(script string) {
	v.t.Helper()
	r, err := v.Run(script, runTime)
	must(v.t, err)
	if r.Status == 0 {
		v.t.Errorf("guest: this must fail:\n%s\n%s", script, r.Output)
	}
}

// finished demands that a Background script has succeeded.
func (v *vm) finished(name string) string {
	v.t.Helper()
	r, err := v.Finished(name, runTime)
	must(v.t, err)
	if r.Status != 0 {
		v.t.Fatalf("guest: %s: status %d: %s", name, r.Status, r.Output)
	}
	return r.Output
}

func (v *vm) qmp(command string, args any) {
	v.t.Helper()
	must(v.t, v.QMP.Execute(command, args, nil))
}

func (v *vm) powerOff() {
	v.t.Helper()
	must(v.t, v.PowerOff())
}

// exercise mounts a seeded disk, reads the seed, writes the payload to a new file, reads it back from the disk and
// unmounts.
func (v *vm) exercise(disk, name string) {
	v.t.Helper()
	v.run("mount -t ext4 /dev/" + disk + " /mnt")
	equal(v.t, "seed read in the guest", v.sum("/mnt/seed"), guest.Sum(seed))
	v.run("cat /payload >/mnt/" + name + "; sync; echo 3 >/proc/sys/vm/drop_caches")
	equal(v.t, "payload read in the guest", v.sum("/mnt/"+name), guest.Sum(payload))
	v.run("umount /mnt")
}

func (v *vm) sum(path string) string {
	v.t.Helper()
	return v.run("sha256sum <" + path + " | cut -d' ' -f1")
}

// queue reads an attribute of a disk's queue in the guest's sysfs.
func (v *vm) queue(disk, attribute string) string {
	v.t.Helper()
	return v.run("cat /sys/block/" + disk + "/queue/" + attribute)
}

// feature says whether the guest's driver negotiated a virtio feature bit.
func (v *vm) feature(disk string, bit int) bool {
	v.t.Helper()
	features := v.run("cat /sys/block/" + disk + "/device/features")
	return bit < len(features) && features[bit] == '1'
}

// tail is the end of a log, enough to see what went wrong.
func tail(s string) string {
	const limit = 6000
	if len(s) > limit {
		return "[...]" + s[len(s)-limit:]
	}
	return s
}

// eventually polls a condition.
func eventually(t *testing.T, what string, limit time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
