package blk_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// TestFlushJoinsWhileOthersAreAnswered: in write-through mode, the end of one discard lets another go on that shares its
// unit, and that one waits for an fdatasync at once, when a write has completed meanwhile.
func TestFlushJoinsWhileOthersAreAnswered(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	r := newRig(t, unitDisk{file, 4096, 512}, rigOptions{acked: allFeatures &^ blk.FeatureConfigWCE &^ blk.FeatureFlush})
	if !r.dev.WriteThrough() {
		t.Fatal("not write-through")
	}
	r.dev.FsyncRuns()
	segments := r.alloc(16, 16)
	r.mem.Write(r.header, header(blk.RequestDiscard, 0))
	r.mem.Write(segments, segment(1, 1, 0))
	statuses := []guestmem.GPA{r.alloc(1, 1), r.alloc(1, 1), r.alloc(1, 1)}
	for _, s := range statuses {
		r.mem.Write(s, []byte{noStatus})
		if _, err := r.drivers[0].Add(virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: r.header, Len: 16}, {GPA: segments, Len: 16}},
			Writable: []virtiotest.Area{{GPA: s, Len: 1}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.drivers[0].Publish(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one waits for the fdatasync, the others for it", func() bool {
		return slices.Equal(steps(r.pool), []string{"waiting for a range", "waiting for a range", "waiting for fdatasync"})
	})
	r.dev.FsyncEnds(0, r.dev.Modified)
	for range statuses {
		r.next(0)
	}
	for i, s := range statuses {
		if got := r.mem.Bytes(s, 1)[0]; got != 0 {
			t.Errorf("discard %d: status %d", i, got)
		}
	}
}

// steps is what the requests in flight wait for, sorted.
func steps(p *blk.Pool) []string {
	var all []string
	for _, r := range p.Pending() {
		all = append(all, r.Step)
	}
	slices.Sort(all)
	return all
}

// TestFlushUnderWayWhenFdatasyncFails: a FLUSH that another worker had sent home before that worker could know of the
// failure. The next fdatasync would succeed, without what this one dropped.
func TestFlushUnderWayWhenFdatasyncFails(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	r := newRig(t, file, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
	r.dev.FsyncRuns()
	r.mem.Write(r.header, header(blk.RequestFlush, 0))
	r.mem.Write(r.status, []byte{noStatus})
	if _, err := r.drivers[1].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	var err error
	r.dev.FsyncEnds(-int32(unix.EIO), func() {
		if _, err = r.drivers[1].Publish(); err != nil {
			return
		}
		for deadline := time.Now().Add(waitLong); !r.dev.HasMail(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				err = errors.New("the flush does not reach home")
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.next(1)
	if got := r.mem.Bytes(r.status, 1)[0]; got != 1 {
		t.Errorf("status %d, want IOERR", got)
	}
	if !r.dev.FlushFailed() {
		t.Error("the failure is forgotten")
	}
}
