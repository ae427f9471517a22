package blk_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// waitLong bounds what a test waits for on a busy machine; nothing here takes that long when it works.
const waitLong = 30 * time.Second

const (
	kib = 1 << 10
	mib = 1 << 20
)

// newFile makes a sparse image that a test may open.
func newFile(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// openFile opens an image as a Disk until the test ends.
func openFile(t testing.TB, path string, o blk.FileOptions) *blk.FileDisk {
	t.Helper()
	d, err := blk.OpenFile(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// unitDisk is a file that is told to have another direct-I/O unit, as one on a device with 4096-byte sectors has.
type unitDisk struct {
	*blk.FileDisk
	offsetAlign, memAlign uint32
}

func (d unitDisk) Info() blk.DiskInfo {
	info := d.FileDisk.Info()
	info.OffsetAlign, info.MemAlign = d.offsetAlign, d.memAlign
	return info
}

// fdDisk does I/O on any descriptor: a pipe that hangs, /dev/full that has no space.
type fdDisk struct {
	fd   int
	size int64
}

func (d fdDisk) FD() int      { return d.fd }
func (d fdDisk) Close() error { return nil }
func (d fdDisk) Info() blk.DiskInfo {
	return blk.DiskInfo{Name: "descriptor", Size: d.size, OffsetAlign: 1, MemAlign: 1, VolatileCache: true, DiscardGranularity: 4096}
}

// alignedDisk is an fdDisk with units.
type alignedDisk struct {
	fdDisk
	offsetAlign, memAlign uint32
}

func (d alignedDisk) Info() blk.DiskInfo {
	info := d.fdDisk.Info()
	info.OffsetAlign, info.MemAlign = d.offsetAlign, d.memAlign
	return info
}
