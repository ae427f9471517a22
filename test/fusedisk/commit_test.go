package fusedisk

import (
	"testing"
	"time"
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
				err = pair(q, uint64(i*pairs+n)*8)
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
		if err := pair(m.queues[0], uint64(i%1000)*8); err != nil {
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
