package blk_test

import (
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
