package native

import (
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// A disk grows in steps. Its first part, which is there from the beginning, is what the busy queue has for itself.
const (
	growBegin = 8 * mib
	growStep  = 8 * mib
	growSteps = 6
	straddle  = 32 << 10 // of a block of 64 KiB: where writes begin before an old end
)

// TestGrowUnderLoad grows a disk by SIGHUP again and again, while a queue is busy on it. Each time another queue fills the
// new area, with writes across the old end, and reads it back.
func TestGrowUnderLoad(t *testing.T) {
	for name, packed := range map[string]bool{"split": false, "packed": true} {
		t.Run("file/"+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.raw")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if err := f.Truncate(growBegin); err != nil {
				t.Fatal(err)
			}
			growUnderLoad(t, path, packed, f, f.Truncate)
		})
		t.Run("device/"+name, func(t *testing.T) {
			d := newLoop(t, growBegin)
			growUnderLoad(t, d.path, packed, d.file, d.grow)
		})
	}
}

// grow makes the file larger, and the device.
func (d *loopDevice) grow(size int64) error {
	if err := d.file.Truncate(size); err != nil {
		return err
	}
	return exec.Command("losetup", "--set-capacity", d.path).Run()
}

func growUnderLoad(t *testing.T, disk string, packed bool, host io.ReaderAt, grow func(size int64) error) {
	s := serve(t, disk, "--num-queues=2", "--workers=2")
	front := connect(t, s, vhostusertest.Options{
		Queues: 2, QueueSize: 256, Packed: packed, Memory: []guestmem.RegionInfo{virtiotest.RAM(32 * mib)},
	})
	takeConfigChange(t, front, 1) // it has not read
	var pumps [2]*pump
	for q := range pumps {
		var err error
		if pumps[q], err = newPump(front.Queue(q), 16, 64<<10); err != nil {
			t.Fatal(err)
		}
		for i := range pumps[q].slots {
			pumps[q].lay(i, layouts[i%2]) // aligned, and bounced
		}
	}
	load := &busy{written: make([]uint64, 16)}
	ended := make(chan error, 1)
	go func() { ended <- pumps[0].run(16, load) }()
	size := int64(growBegin)
	for range growSteps {
		jobs := load.jobs.Load()
		if err := grow(size + growStep); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.backend.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		takeConfigChange(t, front, 1)
		config, err := front.Config(0, 60)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint64(config); got != uint64(size+growStep)/sectorSize {
			t.Fatalf("the front-end reads %d sectors, want %d", got, (size+growStep)/sectorSize)
		}
		passage{block: 64 << 10, depth: 16, layout: layouts[0], offset: size - straddle, size: growStep}.run(t, pumps[1])
		size += growStep
		for deadline := time.Now().Add(patience); load.jobs.Load() == jobs; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the busy queue stands still")
			}
		}
	}
	load.stop.Store(true)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	takeConfigChange(t, front, 0)
	t.Logf("%d requests on the busy queue while the disk grew %d times", load.jobs.Load(), growSteps)
	if err := front.Stop(); err != nil {
		t.Fatal(err)
	}
	s.stop(t)
	b := make([]byte, size-growBegin)
	if _, err := host.ReadAt(b, growBegin-straddle); err != nil {
		t.Fatal(err)
	}
	if err := verify(b, (growBegin-straddle)/sectorSize, version); err != nil {
		t.Fatalf("seen from the host: %v", err)
	}
}

// takeConfigChange waits for so many CONFIG_CHANGE, and demands that there is no other.
func takeConfigChange(t *testing.T, f *vhostusertest.Frontend, want int) {
	t.Helper()
	for n := range want {
		if _, ok, err := f.BackendMessage(patience); err != nil || !ok {
			t.Fatalf("CONFIG_CHANGE %d of %d did not come: %v", n+1, want, err)
		}
	}
	if _, err := f.GetU64(vhostuser.RequestGetFeatures); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.BackendMessage(0); err != nil || ok {
		t.Fatalf("another message on the back-end's channel (%v)", err)
	}
}

// busy is the script of a queue whose slots write and read back their own 64 KiB until it is stopped.
type busy struct {
	written []uint64 // version, by slot; bit 0: to be read back
	jobs    atomic.Int64
	stop    atomic.Bool
}

func (b *busy) next(slot int) (job, bool) {
	j := job{kind: blk.RequestOut, sector: uint64(slot) * 128, size: 64 << 10}
	b.written[slot]++
	if b.written[slot]%2 == 0 {
		j.kind = blk.RequestIn
	} else if b.stop.Load() {
		return job{}, false
	}
	return j, true
}

func (b *busy) fill(slot int, j job, data []byte) { content(data, j.sector, b.written[slot]) }

func (b *busy) done(slot int, j job, data []byte) error {
	b.jobs.Add(1)
	if j.kind == blk.RequestOut {
		return nil
	}
	return verify(data, j.sector, b.written[slot]-1)
}
