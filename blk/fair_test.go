package blk_test

import (
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// turnsDisk notes in which order a worker serves reads, by their sector. The first read waits until it is let go.
type turnsDisk struct {
	blk.InlineDisk
	began, proceed chan struct{}
	order          *[]int64
}

func (d turnsDisk) Read(_ []guestmem.Iovec, off int64) {
	if *d.order = append(*d.order, off/512); len(*d.order) == 1 {
		close(d.began)
		<-d.proceed
	}
}

// flood is how many requests the busy queue has waiting, and loneSector what the other queue's one request reads.
const (
	flood      = 600
	loneSector = 8
)

// TestFloodLeavesOthersTheirTurn: a queue with hundreds of requests waiting hands in mostBudget at a time. A request on
// another queue of the worker is served before the third such batch, even when its kick came after the first began.
func TestFloodLeavesOthersTheirTurn(t *testing.T) {
	for name, together := range map[string]bool{"the same export": true, "another export": false} {
		t.Run(name, func(t *testing.T) {
			worst := 0
			for i := range 8 {
				worst = max(worst, afterFlood(t, together, i%4)) // whose turn is first also goes by how often it was another's
			}
			t.Logf("at worst %d requests of the flood came first", worst)
			if worst > 2*blk.MostBudget {
				t.Errorf("%d requests of the flood came first, want %d at most", worst, 2*blk.MostBudget)
			}
			if worst < blk.MostBudget/2 {
				t.Errorf("only %d requests of the flood came first: there was none", worst)
			}
		})
	}
}

// afterFlood returns how many requests of a flood are served before the one of another queue.
func afterFlood(t *testing.T, together bool, turns int) int {
	t.Helper()
	var order []int64
	disk := turnsDisk{blk.NewNull(mib), make(chan struct{}), make(chan struct{}), &order}
	o := rigOptions{pool: blk.PoolOptions{Slots: 4096}, size: 1024, queues: 3}
	busy := newRig(t, disk, o)
	lone := busy
	if !together {
		lone = newRigOn(t, busy.pool, disk, o)
	}
	for range turns {
		busy.pool.Turns()
	}
	busy.addReads(2, 1, busy.data)
	<-disk.began // the worker is in the middle of its turn
	busy.addReads(0, flood, busy.data)
	header2 := lone.alloc(16, 16)
	lone.mem.Write(header2, header(blk.RequestIn, loneSector))
	if _, err := lone.drivers[1].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: header2, Len: 16}},
		Writable: []virtiotest.Area{{GPA: lone.data, Len: 512}, {GPA: lone.status, Len: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := lone.drivers[1].Publish(); err != nil {
		t.Fatal(err)
	}
	close(disk.proceed)
	lone.next(1)
	busy.next(2)
	for range flood {
		busy.next(0)
	}
	busy.pool.Turns() // asks the worker, so that what it has noted is ours
	for i, sector := range order {
		if sector == loneSector {
			return i - 1 // the first was neither's
		}
	}
	t.Fatal("the lone request was not served by the disk")
	return 0
}
