package iouring

import "sync/atomic"

// completionQueue is the ring of CQEs: the kernel moves tail, the owner head.
type completionQueue struct {
	entries []CQE
	mask    uint32
	next    uint32 // the head as the owner sees it
	head    *uint32
	tail    *uint32
}

// Ready returns the number of completions that can be reaped without a system call.
func (r *Ring) Ready() uint32 { return atomic.LoadUint32(r.cq.tail) - r.cq.next }

// Peek returns a copy of the oldest completion, without consuming it.
func (r *Ring) Peek() (c CQE, ok bool) {
	q := &r.cq
	if atomic.LoadUint32(q.tail) == q.next {
		return CQE{}, false
	}
	return q.entries[q.next&q.mask], true
}

// Seen consumes the completion that Peek returned. Its slot is the kernel's again.
func (r *Ring) Seen() {
	r.cq.next++
	atomic.StoreUint32(r.cq.head, r.cq.next)
}

// Reap moves completions to dst, as many as there are and fit, and returns their number: one store for a whole batch.
func (r *Ring) Reap(dst []CQE) int {
	q := &r.cq
	n := min(r.Ready(), uint32(len(dst)))
	if n == 0 {
		return 0
	}
	for i := range n {
		dst[i] = q.entries[(q.next+i)&q.mask]
	}
	q.next += n
	atomic.StoreUint32(q.head, q.next)
	return int(n)
}
