package points

import (
	"fmt"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/fusedisk"
)

// TestBeforeAnyCompletion has the worker die when it has recorded n requests and no request of the guest has ever ended.
func TestBeforeAnyCompletion(t *testing.T) {
	formats(t, func(t *testing.T, packed bool) {
		for n := 1; n <= depth; n++ {
			l := begin(t, plan{packed: packed, points: []string{fmt.Sprintf("request-recorded:%d", n)}})
			l.attach()
			l.work()
			l.check()
			l.end(1)
		}
	})
}

// TestBetweenStores has workers die at each of the places in the life of a batch, the nth time that they come there.
func TestBetweenStores(t *testing.T) {
	for _, point := range []string{"request-recorded", "request-done", "batch-announced", "batch-published", "batch-settled"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			formats(t, func(t *testing.T, packed bool) {
				for n := 1; n <= 12; n++ {
					l := begin(t, plan{packed: packed, points: []string{fmt.Sprintf("%s:%d", point, n)}})
					l.attach()
					for range 4 {
						l.work()
					}
					l.check()
					l.end(1)
				}
			})
		})
	}
}

// TestTwiceInARow has the successor die, too: in the recovery, or where its predecessor had died; and the one after it.
func TestTwiceInARow(t *testing.T) {
	firsts := []string{
		"request-recorded:3", "request-done:2", "batch-announced", "batch-published", "message-handled:30", "answer-kept:9", "message-consumed:20", "answer-due:25", "answer-sent:30",
	}
	nexts := []string{
		"resume-loaded", "ring-kept", "ring-kept:2", "state-stored", "state-saved", "resume-begun", "request-recorded", "request-done",
		"batch-announced", "batch-published",
	}
	for _, first := range firsts {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			formats(t, func(t *testing.T, packed bool) {
				for _, next := range nexts {
					l := begin(t, plan{packed: packed, points: []string{first, next, next}})
					l.session()
					l.end(3)
				}
				for _, next := range []string{"settle-due", "settle-sent"} {
					if first != "answer-kept:9" && first != "message-consumed:20" {
						break
					}
					l := begin(t, plan{packed: packed, points: []string{first, next, "answer-due"}})
					l.session()
					l.end(3)
				}
			})
		})
	}
}

// TestInRecovery has the successor die while it has what was in flight in its hands, some of it or all.
func TestInRecovery(t *testing.T) {
	formats(t, func(t *testing.T, packed bool) {
		for n := 1; n <= 6; n++ {
			l := begin(t, plan{packed: packed, points: []string{"request-done", fmt.Sprintf("request-recovered:%d", n)}})
			l.attach()
			l.work()
			l.check()
			l.end(2)
		}
	})
}

// TestSlowWritesFastReads: reads complete past writes that the disk is still busy with when the worker dies. The writes must
// have landed before the successor does them again, and nothing completes twice.
func TestSlowWritesFastReads(t *testing.T) {
	for _, point := range []string{"request-done:3", "batch-announced:2", "batch-published:2", "batch-settled:2"} {
		t.Run(point, func(t *testing.T) {
			formats(t, func(t *testing.T, packed bool) {
				disk, err := fusedisk.New(t.TempDir(), diskSize, fusedisk.Options{AsyncDirect: true})
				if err != nil {
					t.Fatal(err)
				}
				l := begin(t, plan{packed: packed, points: []string{point}, image: disk.Path()})
				t.Cleanup(func() {
					_ = l.front.Close()
					_ = l.back.Stop()
					if err := disk.Close(); err != nil {
						t.Error(err)
					}
				})
				l.slow(disk)
				l.end(1)
			})
		})
	}
}

// slowWrites is how many: the kernel's helpers that wait in FUSE are few, and reads need one, too.
const slowWrites = 2

// slow has writes of queue 0 held by the disk and reads of queue 1 pass them, until the worker dies of it.
func (l *life) slow(disk *fusedisk.Disk) {
	l.t.Helper()
	l.attach()
	hold := disk.HoldWrites(0, depth*pageSize)
	defer hold.Release()
	l.version++
	writes, reads := l.queues[0], l.queues[1]
	for slot := range slowWrites {
		r := request(blk.RequestOut, 0, slot)
		copy(writes.Data(slot, r), content(0, slot, l.version))
		l.must(writes.Submit(slot, r))
	}
	select {
	case <-hold.Met():
	case <-time.After(patience):
		l.t.Fatal("no write has reached the disk")
	}
	deadline := time.Now().Add(patience)
	for l.deaths() == 0 {
		l.must(reads.Submit(0, request(blk.RequestIn, 1, 0)))
		for reads.Ring().Outstanding() > 0 && l.deaths() == 0 {
			_, _, err := reads.Next(glance)
			l.must(err)
			if time.Now().After(deadline) {
				l.t.Fatal("nobody dies")
			}
		}
	}
	if n := writes.Ring().Outstanding(); n != slowWrites {
		l.t.Fatalf("%d writes are in flight, want %d", n, slowWrites)
	}
	if _, ok, err := writes.Next(50 * glance); ok || err != nil {
		l.t.Fatalf("a write has ended that the disk has not done: %v", err)
	}
	hold.Release()
	l.reap()
	for slot := range slowWrites {
		l.must(writes.Submit(slot, request(blk.RequestIn, 0, slot)))
	}
	l.reap()
	for slot := range slowWrites {
		if got, want := writes.Data(slot, writes.Request(slot)), content(0, slot, l.version); string(got) != string(want) {
			l.t.Fatalf("slot %d: % x, want % x", slot, got[:16], want[:16])
		}
	}
}
