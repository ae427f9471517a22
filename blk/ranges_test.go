package blk_test

import (
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// newFIFO makes a descriptor whose reads hang until something is written to it.
func newFIFO(t *testing.T) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	return fd
}

// TestZeroesOfPartsKeepWritesAway: zeroes of several segments read the units at their segments' edges, to write them
// back. A write there must neither complete meanwhile nor be undone, wherever the segments begin and end together.
func TestZeroesOfPartsKeepWritesAway(t *testing.T) {
	for _, c := range []struct {
		name   string
		second uint64 // sector of the second segment
	}{{"from a unit's begin to a unit's end", 15}, {"from a unit's begin into a unit", 14}} {
		t.Run(c.name, func(t *testing.T) {
			fd := newFIFO(t)
			r := newRig(t, alignedDisk{fdDisk{fd: fd, size: mib}, 4096, 1}, rigOptions{device: blk.DeviceOptions{MaxDiscardSegs: 2}})
			segments, writeHeader, writeStatus := r.alloc(32, 16), r.alloc(16, 16), r.alloc(1, 1)
			r.mem.Write(r.header, header(blk.RequestWriteZeroes, 0))
			r.mem.Write(segments, append(segment(0, 1, 0), segment(c.second, 1, 0)...))
			r.mem.Write(writeHeader, header(blk.RequestOut, 0))
			statuses := []guestmem.GPA{r.status, writeStatus}
			add := func(h, data guestmem.GPA, n uint32, status guestmem.GPA) {
				t.Helper()
				r.mem.Write(status, []byte{noStatus})
				if _, err := r.drivers[0].Add(virtiotest.Request{
					Readable: []virtiotest.Area{{GPA: h, Len: 16}, {GPA: data, Len: n}},
					Writable: []virtiotest.Area{{GPA: status, Len: 1}},
				}); err != nil {
					t.Fatal(err)
				}
				if _, err := r.drivers[0].Publish(); err != nil {
					t.Fatal(err)
				}
			}
			add(r.header, segments, 32, r.status)
			eventually(t, "zeroes read a unit", func() bool { return slices.Equal(steps(r.pool), []string{"reading a unit to modify"}) })
			add(writeHeader, r.data, 4096, writeStatus)
			eventually(t, "the write waits, or is done", func() bool {
				return r.mem.Bytes(writeStatus, 1)[0] != noStatus || len(r.pool.Pending()) == 2
			})
			if got, want := steps(r.pool), []string{"reading a unit to modify", "waiting for a range"}; !slices.Equal(got, want) {
				t.Errorf("in flight: %q, want %q", got, want)
			}
			// The first unit; the second is what the first was written back as.
			if _, err := unix.Write(fd, make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}
			r.next(0)
			if r.mem.Bytes(r.status, 1)[0] != noStatus {
				r.next(0)
			} else {
				t.Error("the write passed the zeroes")
			}
			for i, s := range statuses {
				if got := r.mem.Bytes(s, 1)[0]; got != 0 {
					t.Errorf("request %d: status %d", i, got)
				}
			}
		})
	}
}
