package durability

import (
	"fmt"

	"github.com/vublk/vublk/blk"
)

// The status byte (virtio-v1.3 5.2.6), and what stands there before the device writes it.
const (
	statusOK    = 0
	statusIOErr = 1
	noStatus    = 0xff
)

// op is one request, as its driver knows it.
type op struct {
	index    int
	kind     blk.RequestType
	barrier  bool
	unmap    bool
	first    int // sector
	sectors  int
	segments int     // of a discard or zeroes
	content  content // of each sector, once it is done

	submitted uint64 // tick before it was made available
	through   bool   // the device was known to be write-through then
	completed uint64 // tick after it was seen completed; 0: not yet
	status    byte
}

func (o *op) modifies() bool {
	return o.kind == blk.RequestOut || o.kind == blk.RequestDiscard || o.kind == blk.RequestWriteZeroes
}

func (o *op) ok() bool { return o.completed != 0 && o.status == statusOK }

func (o *op) String() string {
	flag := ""
	if o.barrier {
		flag = " with barrier"
	}
	return fmt.Sprintf("request %d (%v%s, sectors %d+%d, available %d, completed %d, status %d)",
		o.index, o.kind, flag, o.first, o.sectors, o.submitted, o.completed, o.status)
}

// toggle is one change of the configuration field writeback.
type toggle struct {
	begin, end uint64 // ticks around WriteConfig
	writeback  bool
	ok         bool
}

// history is what the driver knows. Its requests never meet on a sector while they are in flight, unless all are reads:
// so the order of their indices is the order of what a sector holds.
type history struct {
	ops     []*op
	toggles []toggle
}

// promised returns, by request, the tick from which on its effect must survive each cut; 0 for those that were promised
// nothing. A promise comes from a FLUSH or a barrier that was made available after the request had completed, from its
// own completion in write-through mode or with a barrier, or from a change to write-through that began after it.
func (h *history) promised() []uint64 {
	p := make([]uint64, len(h.ops))
	for i, o := range h.ops {
		if !o.ok() || !o.modifies() {
			continue
		}
		if o.through && !h.leaves(o) || o.barrier {
			p[i] = o.completed
			continue
		}
		for _, f := range h.ops {
			if f.ok() && (f.kind == blk.RequestFlush || f.barrier) && f.submitted > o.completed {
				p[i] = earlier(p[i], f.completed)
			}
		}
		for _, t := range h.toggles {
			if t.ok && !t.writeback && t.begin > o.completed {
				p[i] = earlier(p[i], t.end)
			}
		}
	}
	return p
}

// leaves tells whether the driver began to leave write-through while o was in flight: what o was done with is undefined
// then (virtio-v1.3 5.2.6.2).
func (h *history) leaves(o *op) bool {
	for _, t := range h.toggles {
		if t.writeback && t.begin > o.submitted && t.begin < o.completed {
			return true
		}
	}
	return false
}

// earlier returns the smaller tick of those that are set.
func earlier(a, b uint64) uint64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// bySector lists the modifications of each sector, in order.
func (h *history) bySector(sectors int) [][]*op {
	lists := make([][]*op, sectors)
	for _, o := range h.ops {
		if !o.modifies() || o.submitted == 0 {
			continue
		}
		for s := o.first; s < o.first+o.sectors; s++ {
			lists[s] = append(lists[s], o)
		}
	}
	return lists
}
