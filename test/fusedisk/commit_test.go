package fusedisk

import (
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

// slowSync is how long an fsync takes.
const slowSync = 5 * time.Millisecond

// TestGroupCommit: one fdatasync serves many flushes.
func TestGroupCommit(t *testing.T) {
	const writers, pairs, limit = 16, 40, 0.25
	d := newDisk(t, 16*mib)
	s := serve(t, []string{d.Path()})
	m := connect(t, s.sockets[0], writers, 0)
	d.SetDelay(slowSync)
	before := d.Counts()
	errs := make(chan error, writers)
	for i, q := range m.queues {
		go func() {
			var err error
			for n := 0; n < pairs && err == nil; n++ {
				err = q.pair(uint64(i*pairs+n) * 8)
			}
			errs <- err
		}()
	}
	for range m.queues {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	got := d.Counts().Minus(before)
	share := float64(got.Fsyncs) / (writers * pairs)
	t.Logf("%d writers, %d flushes: %d fsyncs, %.3f for each flush", writers, writers*pairs, got.Fsyncs, share)
	if got.Writes != writers*pairs || share > limit || got.Fsyncs < pairs {
		t.Errorf("%+v: want %d writes and at most %.2f fsyncs for each flush", got, writers*pairs, limit)
	}
}

// TestFasterThanTheDisk: who completes synced writes faster than the disk can flush has lied.
func TestFasterThanTheDisk(t *testing.T) {
	pairs := 300
	if long {
		pairs = 3000
	}
	d := newDisk(t, 16*mib)
	s := serve(t, []string{d.Path()})
	m := connect(t, s.sockets[0], 1, 0)
	d.SetDelay(slowSync)
	before, start := d.Counts(), time.Now()
	for i := range pairs {
		if err := m.queues[0].pair(uint64(i%1000) * 8); err != nil {
			t.Fatal(err)
		}
	}
	rate := float64(pairs) / time.Since(start).Seconds()
	got := d.Counts().Minus(before)
	native := 1 / slowSync.Seconds()
	t.Logf("%d synced writes: %.1f per second of at most %.0f, %d fsyncs", pairs, rate, native, got.Fsyncs)
	if rate > native*1.05 || got.Fsyncs < pairs {
		t.Errorf("%.1f synced writes per second and %d fsyncs for %d: faster than native", rate, got.Fsyncs, pairs)
	}
}

// TestHungDisks: 16 disks whose fdatasync hangs do not stop a 17th, whatever workers they share.
func TestHungDisks(t *testing.T) {
	const hung = 16
	for _, workers := range []string{"--workers=1", "--workers=2"} {
		t.Run(workers, func(t *testing.T) {
			var paths []string
			var disks []*Disk
			for range hung + 1 {
				disks = append(disks, newDisk(t, mib))
				paths = append(paths, disks[len(disks)-1].Path())
			}
			s := serve(t, paths, workers)
			var holds []*Hold
			t.Cleanup(func() {
				for _, h := range holds {
					h.Release()
				}
			})
			var machines []*machine
			for i := range hung {
				m := connect(t, s.sockets[i], 1, 0)
				machines = append(machines, m)
				holds = append(holds, disks[i].HoldFsyncs())
				if err := m.queues[0].do(blk.RequestOut, 0, 4096); err != nil {
					t.Fatal(err)
				}
				if err := m.queues[0].submit(blk.RequestFlush, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
			last := connect(t, s.sockets[hung], 1, 0)
			before := disks[hung].Counts()
			for i := range 20 {
				if err := last.queues[0].pair(uint64(i) * 8); err != nil {
					t.Fatal(err)
				}
			}
			reached := 0
			for i, m := range machines {
				select {
				case <-holds[i].Met():
					reached++
				default:
				}
				if ok, err := m.queues[0].done(0); ok || err != nil {
					t.Errorf("the flush of disk %d has ended (%v, %v) although its fdatasync has not", i, ok, err)
				}
			}
			got := disks[hung].Counts().Minus(before)
			t.Logf("%d of %d fdatasyncs hang in the kernel; meanwhile the 17th disk: %d writes, %d fsyncs", reached, hung, got.Writes, got.Fsyncs)
			for i, m := range machines {
				holds[i].Release()
				if ok, err := m.queues[0].done(patience); !ok || err != nil {
					t.Errorf("disk %d after the release: %v, %v", i, ok, err)
				}
			}
		})
	}
}
