package fusedisk

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
)

const (
	beside = 1000 // reads, and as many writes, beside an fdatasync that hangs
	page   = 4096
)

// TestFlushBlocksNobody: while an fdatasync of a disk hangs, reads and writes of this disk and of another one of the same
// worker go on, and the FLUSH does not complete.
func TestFlushBlocksNobody(t *testing.T) {
	h := newHanging(t)
	besideHungFlush(t, h.disk, h.device.Name(), func() *Hold { return h.hang(t) }, blk.RequestIn, blk.RequestOut)
}

// TestFsyncBlocksNoRead is the same with an fsync that hangs in the disk itself. The kernel has this disk's writes wait.
func TestFsyncBlocksNoRead(t *testing.T) {
	d := newDisk(t, 16*mib)
	besideHungFlush(t, d, d.Path(), d.HoldFsyncs, blk.RequestIn)
}

// besideHungFlush serves disk d as path. It has a FLUSH hang from begin on, makes requests of these kinds beside it on another queue,
// and reads and writes another disk of the same worker.
func besideHungFlush(t *testing.T, d *Disk, path string, begin func() *Hold, kinds ...blk.RequestType) {
	t.Helper()
	other := newDisk(t, 16*mib)
	s := serve(t, []string{path, other.Path()}, "--workers=1")
	m, o := connect(t, s.sockets[0], 2, 0), connect(t, s.sockets[1], 1, 0)
	flusher := m.queues[1]
	if err := flusher.Do(writePage(0)); err != nil {
		t.Fatal(err)
	}
	hold := begin()
	defer hold.Release()
	before := d.Counts()
	if err := flusher.Submit(0, flushRequest); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hold.Met():
	case <-time.After(patience):
		t.Fatal("the fdatasync does not come")
	}
	errs := make(chan error, 2)
	go func() { errs <- work(m.queues[0], kinds...) }()
	go func() { errs <- work(o.queues[0], blk.RequestIn, blk.RequestOut) }()
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if ok, err := ended(flusher); ok || err != nil {
		t.Errorf("the FLUSH has ended (%v, %v), its fdatasync has not", ok, err)
	}
	if t.Failed() {
		return
	}
	got := d.Counts().Minus(before)
	t.Logf("beside a hung fdatasync: %d of each of %v on this disk, %d reads and writes each on another", beside, kinds, beside)
	hold.Release()
	if ok, err := end(flusher); !ok || err != nil {
		t.Errorf("the FLUSH after the release: %v, %v", ok, err)
	}
	t.Logf("this disk has seen %+v, and %+v in the end", got, d.Counts().Minus(before))
}

// work makes requests of each kind, after one another.
func work(q *driver.Queue, kinds ...blk.RequestType) error {
	for i := range beside {
		for _, kind := range kinds {
			if err := q.Do(driver.Request{Kind: kind, Sector: uint64(8 + i*8), Size: page}); err != nil {
				return err
			}
		}
	}
	return nil
}

// hanging is a block device whose fdatasync can hang while it can be written: a loop device on a Disk. An fdatasync first
// writes what is dirty in the device's page cache. That is a page that we put there, and whose write is held. (For as
// long as an fsync of the Disk itself is held, the kernel locks the file against writes.)
type hanging struct {
	disk   *Disk
	device *os.File
}

const hangingSize = 16 * mib

func newHanging(t *testing.T) hanging {
	t.Helper()
	d := newDiskWith(t, hangingSize, Options{AsyncDirect: true})
	return hanging{disk: d, device: newLoop(t, d)}
}

// hang has the next fdatasync hang.
func (h hanging) hang(t *testing.T) *Hold {
	t.Helper()
	if _, err := h.device.WriteAt(make([]byte, page), hangingSize-page); err != nil {
		t.Fatal(err)
	}
	return h.disk.HoldWrites(hangingSize-page, page)
}

// newLoop makes a block device of a disk until the end of the test. It is detached at once and stays for as long as
// somebody has it open: us and vublk.
func newLoop(t *testing.T, d *Disk) *os.File {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", d.Path()).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup (package mount, elsewhere util-linux): %v: %s", err, out)
	}
	path := strings.TrimSpace(string(out))
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if out, e := exec.Command("losetup", "--detach", path).CombinedOutput(); e != nil {
		t.Errorf("losetup --detach %s: %v: %s", path, e, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	})
	return device
}
