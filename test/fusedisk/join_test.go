package fusedisk

import (
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
)

// TestFlushesJoinTheNext: who flushes while an fdatasync runs is not served by that one, which may have begun before the
// write: all of them share one more.
func TestFlushesJoinTheNext(t *testing.T) {
	const flushers, turns = 16, 100
	h := newHanging(t)
	s := serve(t, []string{h.device.Name()}, "--workers=1")
	m := connect(t, s.sockets[0], flushers+1, 0)
	reader := m.queues[flushers]
	before := h.disk.Counts().Fsyncs
	var hold *Hold
	for i, q := range m.queues[:flushers] {
		if err := q.Do(writePage(uint64(8 * i))); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			hold = h.hang(t)
			defer hold.Release()
		}
		if err := q.Submit(0, flushRequest); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			select {
			case <-hold.Met():
			case <-time.After(patience):
				t.Fatal("the fdatasync does not come")
			}
		}
	}
	// The worker has turned so often that it has seen all that came before.
	for range turns {
		if err := reader.Do(driver.Request{Kind: blk.RequestIn, Size: page}); err != nil {
			t.Fatal(err)
		}
	}
	hold.Release()
	for i, q := range m.queues[:flushers] {
		if ok, err := end(q); !ok || err != nil {
			t.Errorf("FLUSH %d: %v, %v", i, ok, err)
		}
	}
	got := h.disk.Counts().Fsyncs - before
	t.Logf("a FLUSH that hangs and %d that come meanwhile: %d fsyncs", flushers-1, got)
	if got != 2 {
		t.Errorf("%d fsyncs, want 2", got)
	}
}
