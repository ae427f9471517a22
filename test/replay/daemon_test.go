package replay

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/test/e2e/guest"
)

const mountTime = time.Minute

// recorder is a disk whose writes and flushes are logged. Its files are image and log; the image is the disk as it is, the
// base is what it was.
type recorder struct {
	dir    string
	size   int64
	daemon *guest.Backend
	super  *os.File // the log, to read its superblock
}

func (r *recorder) image() string { return filepath.Join(r.dir, "image") }
func (r *recorder) log() string   { return filepath.Join(r.dir, "log") }

// newRecorder makes the files; the image stays as it is when it is there already.
func newRecorder(t *testing.T, dir string, size int64) *recorder {
	t.Helper()
	r := &recorder{dir: dir, size: size}
	for name, n := range map[string]int64{r.image(): size, r.log(): 0} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		must(t, err)
		must(t, f.Truncate(n))
		must(t, f.Close())
	}
	var err error
	r.super, err = os.Open(r.log())
	must(t, err)
	t.Cleanup(func() { _ = r.super.Close() })
	return r
}

// start starts the daemon with one export of the logging node, which is called disk.
func (r *recorder) start(t *testing.T, sockets []string, export string) {
	t.Helper()
	var err error
	r.daemon, err = guest.StartBackend(filepath.Join(r.dir, "daemon.log"), sockets, "qemu-storage-daemon",
		// The host's own disk does not matter here: no-flush spares it. The flushes are logged all the same.
		"--blockdev", "driver=file,node-name=image,cache.no-flush=on,filename="+r.image(),
		"--blockdev", "driver=file,node-name=log,cache.no-flush=on,filename="+r.log(),
		// The superblock must tell of flushes and nothing else.
		"--blockdev", "driver=blklogwrites,node-name=disk,file=image,log=log,log-sector-size=512,log-super-update-interval=1000000000",
		"--export", export)
	must(t, err)
	t.Cleanup(func() { r.stop(t) })
}

// stop stops the daemon: the log is complete. Called again it does nothing.
func (r *recorder) stop(t *testing.T) {
	t.Helper()
	if err := r.daemon.Stop(); err != nil {
		t.Errorf("qemu-storage-daemon: %v\n%s", err, r.daemon.Log())
	}
}

// mount makes the disk a file that vublk can open.
func (r *recorder) mount(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(r.dir, "disk")
	must(t, os.WriteFile(path, nil, 0o600))
	r.start(t, nil, "type=fuse,id=fuse,node-name=disk,writable=on,mountpoint="+path)
	for deadline := time.Now().Add(mountTime); ; time.Sleep(10 * time.Millisecond) {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err == nil && st.Type == unix.FUSE_SUPER_MAGIC {
			oneAtATime(t, path)
			return path
		}
		if !r.daemon.Running() || time.Now().After(deadline) {
			t.Fatalf("qemu-storage-daemon mounts nothing:\n%s", r.daemon.Log())
		}
	}
}

// oneAtATime has the kernel send the daemon no second write before it has answered the first. QEMU 7.2 would look for it in
// the middle of the first, into the same buffer, and write and log the second one's data for both: fio alone, libaio with
// iodepth 8 and verify, finds it on any FUSE export. What vublk has in flight is not limited, and fsyncs, which bring no data,
// still overtake writes.
func oneAtATime(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	control := filepath.Join(filepath.Dir(path), "control")
	must(t, os.Mkdir(control, 0o700))
	must(t, errors.Wrap(unix.Mount("fusectl", control, "fusectl", 0, ""), "mount fusectl"))
	defer func() { must(t, unix.Unmount(control, 0)) }()
	// A connection is named by the device number of its file system (Documentation/filesystems/fuse.rst of Linux 6.12).
	knob := filepath.Join(control, strconv.FormatUint(st.Dev, 10), "max_background")
	must(t, os.WriteFile(knob, []byte("1"), 0o600))
}

// entries is how many entries the log had at its last flush.
func (r *recorder) entries() (uint64, error) {
	s, err := readSuper(r.super)
	return s.entries, err
}

// serve starts vublk on the disk.
func (r *recorder) serve(t *testing.T, options ...string) (b *guest.Backend, socket string) {
	t.Helper()
	disk := r.mount(t)
	socket = filepath.Join(r.dir, "vublk.sock")
	argv := append([]string{lab.vublk, "serve", "--socket-path=" + socket, "--blk-file=" + disk}, options...)
	b, err := guest.StartBackend(filepath.Join(r.dir, "vublk.log"), []string{socket}, argv...)
	must(t, err)
	t.Cleanup(func() {
		must(t, errors.Wrap(b.Stop(), "vublk"))
		if t.Failed() {
			t.Logf("vublk's log:\n%s", b.Log())
		}
	})
	return b, socket
}
