package fusedisk

import (
	"testing"

	"github.com/vublk/vublk/test/driver"
)

// TestHungDisks: 16 disks whose fdatasync hangs do not stop a 17th, whatever workers they share.
func TestHungDisks(t *testing.T) {
	const hung, pairs = 16, 20
	for _, workers := range []string{"--workers=1", "--workers=2"} {
		t.Run(workers, func(t *testing.T) {
			var paths []string
			var disks []*Disk
			for range hung + 1 {
				d := newDisk(t, mib)
				disks, paths = append(disks, d), append(paths, d.Path())
			}
			s := serve(t, paths, workers)
			var flushes []*hungFlush
			for i := range hung {
				flushes = append(flushes, hang(t, disks[i], s.sockets[i]))
			}
			last := connect(t, s.sockets[hung], 1, 0)
			before := disks[hung].Counts()
			for i := range pairs {
				if err := pair(last.queues[0], uint64(i)*8); err != nil {
					t.Fatal(err)
				}
			}
			got := disks[hung].Counts().Minus(before)
			reached := 0
			for _, f := range flushes {
				reached += f.check(t)
			}
			t.Logf("%d of %d fdatasyncs hang in the kernel; meanwhile the 17th disk: %d writes, %d fsyncs", reached, hung, got.Writes, got.Fsyncs)
			if got.Fsyncs < pairs {
				t.Errorf("%d fsyncs for %d flushes", got.Fsyncs, pairs)
			}
			for _, f := range flushes {
				f.end(t)
			}
		})
	}
}

// hungFlush is a FLUSH whose fdatasync is held.
type hungFlush struct {
	queue *driver.Queue
	hold  *Hold
}

// hang writes something and has a FLUSH hang until end, or the end of the test.
func hang(t *testing.T, d *Disk, socket string) *hungFlush {
	t.Helper()
	f := &hungFlush{queue: connect(t, socket, 1, 0).queues[0], hold: d.HoldFsyncs()}
	t.Cleanup(f.hold.Release)
	if err := f.queue.Do(writePage(0)); err != nil {
		t.Fatal(err)
	}
	if err := f.queue.Submit(0, flushRequest); err != nil {
		t.Fatal(err)
	}
	return f
}

// check demands that the FLUSH has not ended. It returns 1 when its fdatasync has reached the disk.
func (f *hungFlush) check(t *testing.T) (reached int) {
	t.Helper()
	if ok, err := ended(f.queue); ok || err != nil {
		t.Errorf("a FLUSH has ended (%v, %v), its fdatasync has not", ok, err)
	}
	select {
	case <-f.hold.Met():
		return 1
	default:
		return 0
	}
}

// end releases the fdatasync and demands that the FLUSH ends.
func (f *hungFlush) end(t *testing.T) {
	t.Helper()
	f.hold.Release()
	if ok, err := end(f.queue); !ok || err != nil {
		t.Errorf("the FLUSH after the release: %v, %v", ok, err)
	}
}
