package blk

import (
	"fmt"
	"time"
)

// PendingRequest is a request that has not ended: what a stop waits for.
type PendingRequest struct {
	Device string
	Queue  int
	Type   RequestType
	Offset int64  // bytes, of what is left
	Left   uint64 // bytes
	Step   string
	Age    time.Duration
}

func (r PendingRequest) String() string {
	return fmt.Sprintf("%s queue %d: %v at byte %d, %d bytes left, for %v: %s",
		r.Device, r.Queue, r.Type, r.Offset, r.Left, r.Age.Round(time.Millisecond), r.Step)
}

// Pending lists what is in flight on all workers. Any goroutine may call it.
func (p *Pool) Pending() []PendingRequest {
	var all []PendingRequest
	p.ask(func(w *worker) { all = append(all, w.pending()...) })
	return all
}

func (w *worker) pending() []PendingRequest {
	var list []PendingRequest
	now := time.Since(w.pool.start)
	for i := range w.slots {
		s := &w.slots[i]
		if s.queue == nil {
			continue
		}
		list = append(list, PendingRequest{
			Device: s.queue.dev.opt.Name, Queue: s.queue.index, Type: s.kind,
			Offset: s.off, Left: s.left, Step: s.step.String(), Age: now - s.began,
		})
	}
	return list
}
