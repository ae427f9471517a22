package native

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Versions of the image's content.
const (
	versionCached = iota + 1 // in the page cache, clean
	versionMedia             // written later, past the cache
	versionDirty             // in the page cache, and nowhere else yet
	versionGuest             // written by the front-end
)

const (
	staleSize  = 2 * mib
	staleBlock = 64 << 10
	dirtyFrom  = staleSize / 2 // what is cached behind is dirty
)

// TestStaleLoop: what a loop device has cached of a file that was changed under it is neither read by the front-end nor
// written back over the front-end's data. What is dirty when vublk starts is written back then, and not later.
func TestStaleLoop(t *testing.T) {
	for _, option := range []string{"--direct=on", "--direct=off"} {
		t.Run(option, func(t *testing.T) { staleLoop(t, option) })
	}
}

func staleLoop(t *testing.T, option string) {
	t.Helper()
	d := newLoop(t, staleSize)
	host := open(t, d.path, unix.O_RDWR)
	under := open(t, fmt.Sprintf("/proc/self/fd/%d", d.file.Fd()), unix.O_RDWR|unix.O_DIRECT)
	for try := 1; ; try++ {
		put(t, d.file, 0, staleSize, versionCached)
		writeBack(t, d.file)
		expect(t, "the loop device, at first", host, 0, staleSize, versionCached)
		put(t, under, 0, staleSize, versionMedia)
		put(t, host, dirtyFrom, staleSize, versionDirty)
		// Or nothing is proved. The kernel may drop what is clean, and write what is dirty, whenever it likes.
		err := differs(t, host, 0, dirtyFrom, versionCached)
		if err == nil {
			err = differs(t, d.file, dirtyFrom, staleSize, versionMedia)
		}
		if err == nil {
			break
		}
		if try == 20 {
			t.Fatalf("the loop device's cache is not as it must be, in %d tries: %v", try, err)
		}
		flushCache(t, host)
	}

	s := serve(t, d.path, option)
	expect(t, "the loop device when vublk has started", host, 0, dirtyFrom, versionMedia)
	expect(t, "the file when vublk has started", d.file, dirtyFrom, staleSize, versionDirty)
	front := staleFront(t, s)
	front.read(t, 0, dirtyFrom, versionMedia)
	front.read(t, dirtyFrom, staleSize, versionDirty)
	front.write(t, 0, staleSize, versionGuest)
	s.stop(t)
	expect(t, "the file after vublk", d.file, 0, staleSize, versionGuest)
	writeBack(t, host)
	expect(t, "the file after all was written back", d.file, 0, staleSize, versionGuest)
	expect(t, "the loop device after vublk", host, 0, staleSize, versionGuest)
}

// TestStaleFile: the same for a file, whose own cache the kernel keeps coherent with direct I/O.
func TestStaleFile(t *testing.T) {
	for _, option := range []string{"--direct=on", "--direct=off"} {
		t.Run(option, func(t *testing.T) { staleFile(t, option) })
	}
}

func staleFile(t *testing.T, option string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	host := open(t, path, unix.O_RDWR|unix.O_CREAT)
	under := open(t, path, unix.O_RDWR|unix.O_DIRECT)
	put(t, host, 0, staleSize, versionCached)
	writeBack(t, host)
	expect(t, "the file, at first", host, 0, staleSize, versionCached)
	put(t, under, 0, staleSize, versionMedia)
	put(t, host, dirtyFrom, staleSize, versionDirty)

	s := serve(t, path, option)
	front := staleFront(t, s)
	front.read(t, 0, dirtyFrom, versionMedia)
	front.read(t, dirtyFrom, staleSize, versionDirty)
	expect(t, "the file, read through the cache", host, 0, dirtyFrom, versionMedia)
	front.write(t, 0, staleSize, versionGuest)
	s.stop(t)
	writeBack(t, host)
	expect(t, "the file after vublk", host, 0, staleSize, versionGuest)
	expect(t, "the medium after vublk", under, 0, staleSize, versionGuest)
}

// open opens an image; the end of the test closes it.
func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// aligned is memory that direct I/O takes.
func aligned(t *testing.T) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, staleSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

// put writes version v from one offset to another.
func put(t *testing.T, f *os.File, from, to int64, v uint64) {
	t.Helper()
	b := aligned(t)[:to-from]
	content(b, uint64(from)/sectorSize, v)
	if _, err := f.WriteAt(b, from); err != nil {
		t.Fatal(err)
	}
}

// expect demands version v.
func expect(t *testing.T, what string, f *os.File, from, to int64, v uint64) {
	t.Helper()
	if err := differs(t, f, from, to, v); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// differs tells how a range is not of version v, nil: it is.
func differs(t *testing.T, f *os.File, from, to int64, v uint64) error {
	t.Helper()
	b := aligned(t)[:to-from]
	if _, err := f.ReadAt(b, from); err != nil {
		t.Fatal(err)
	}
	return verify(b, uint64(from)/sectorSize, v)
}

// flushCache writes what a block device has cached, and forgets it (BLKFLSBUF).
func flushCache(t *testing.T, f *os.File) {
	t.Helper()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		t.Fatal(err)
	}
}

// writeBack makes the kernel write whatever is dirty.
func writeBack(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// versions is a front-end that reads and writes a range of one version, in order.
type versions struct {
	pump *pump
	kind blk.RequestType
	at   int64
	to   int64
	v    uint64
}

func staleFront(t *testing.T, s *server) *versions {
	t.Helper()
	front := connect(t, s, vhostusertest.Options{QueueSize: 16, Memory: []guestmem.RegionInfo{virtiotest.RAM(4 * mib)}})
	p, err := newPump(front.Queue(0), 4, staleBlock)
	if err != nil {
		t.Fatal(err)
	}
	return &versions{pump: p}
}

func (r *versions) read(t *testing.T, from, to int64, v uint64) {
	t.Helper()
	r.all(t, blk.RequestIn, from, to, v)
}

func (r *versions) write(t *testing.T, from, to int64, v uint64) {
	t.Helper()
	r.all(t, blk.RequestOut, from, to, v)
}

func (r *versions) all(t *testing.T, kind blk.RequestType, from, to int64, v uint64) {
	t.Helper()
	r.kind, r.at, r.to, r.v = kind, from, to, v
	if err := r.pump.run(len(r.pump.slots), r); err != nil {
		t.Fatal(err)
	}
}

func (r *versions) next(int) (job, bool) {
	if r.at >= r.to {
		return job{}, false
	}
	j := job{kind: r.kind, sector: uint64(r.at) / sectorSize, size: staleBlock}
	r.at += staleBlock
	return j, true
}

func (r *versions) fill(_ int, j job, data []byte) { content(data, j.sector, r.v) }

func (r *versions) done(_ int, j job, data []byte) error { return verify(data, j.sector, r.v) }
