package iouring

import "sync/atomic"

// submissionQueue is the ring of SQEs. Indices run freely; the slot is index & mask. The owner writes entries and tail,
// the kernel moves head, and only during Enter, because no IORING_SETUP_SQPOLL thread reads it behind our back.
type submissionQueue struct {
	entries []SQE
	mask    uint32
	next    uint32  // the tail as the owner sees it; Enter shows it to the kernel
	head    *uint32 // the kernel has taken everything before it
	tail    *uint32
	flags   *uint32 // IORING_SQ_*
}

// SQE returns the next submission, zeroed, or nil when the queue is full: then Enter. It goes with the next Enter,
// filled or not; a zeroed one is a Nop.
func (r *Ring) SQE() *SQE {
	q := &r.sq
	if q.next-atomic.LoadUint32(q.head) >= uint32(len(q.entries)) {
		return nil
	}
	s := &q.entries[q.next&q.mask]
	*s = SQE{} // slots are recycled, and fields that an operation does not use must be 0
	q.next++
	return s
}

// Pending returns the number of submissions that the kernel has not taken yet.
func (r *Ring) Pending() uint32 { return r.sq.next - atomic.LoadUint32(r.sq.head) }

// NeedsEnter says that the kernel has completions which only an Enter brings to the CQ: task work is waiting
// (IORING_SQ_TASKRUN, with FeatureCoopTaskrun), or the CQ overflowed. It is one load: look at it and at Ready while
// spinning, in place of a system call.
func (r *Ring) NeedsEnter() bool { return atomic.LoadUint32(r.sq.flags)&(sqTaskrun|sqCQOverflow) != 0 }
