package blk_test

import (
	"os"
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
)

// TestPendingAfterClose: a shutdown that asks too late is answered.
func TestPendingAfterClose(t *testing.T) {
	p, err := blk.NewPool(blk.PoolOptions{Workers: 2, Slots: 16})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	pending := make(chan []blk.PendingRequest, 1)
	go func() { pending <- p.Pending() }()
	select {
	case list := <-pending:
		if len(list) > 0 {
			t.Errorf("in flight: %v", list)
		}
	case <-time.After(waitLong):
		t.Error("no answer")
	}
}

// TestFirstThread: a process keeps its name, whichever thread a worker begins on.
func TestFirstThread(t *testing.T) {
	name := func() string {
		b, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := name()
	for i := range 50 {
		p, err := blk.NewPool(blk.PoolOptions{Workers: 4, Slots: 8})
		if err != nil {
			t.Fatal(err)
		}
		if now := name(); now != before {
			t.Errorf("the process is called %q after %d pools, and was called %q", now, i+1, before)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			break
		}
	}
}
