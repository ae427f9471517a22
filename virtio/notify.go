package virtio

import (
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
)

// Flags with which either side says that it does not want to hear of the other.
const (
	availNoInterrupt = 1 << 0 // VIRTQ_AVAIL_F_NO_INTERRUPT
	usedNoNotify     = 1 << 0 // VIRTQ_USED_F_NO_NOTIFY

	eventFlagsEnable  = 0 // RING_EVENT_FLAGS_ENABLE
	eventFlagsDisable = 1 // RING_EVENT_FLAGS_DISABLE
	eventFlagsDesc    = 2 // RING_EVENT_FLAGS_DESC, with VIRTIO_F_EVENT_IDX
)

// kickState is what we last told the driver.
type kickState uint8

const (
	kicksUnknown kickState = iota // whatever the ring's last user said
	kicksEnabled
	kicksDisabled
)

// notifier calls the driver.
type notifier struct {
	call    *sys.FD
	errfd   *sys.FD
	onEmpty bool // VIRTIO_F_NOTIFY_ON_EMPTY
	known   bool // false until the first batch: what our predecessor signalled is unknown, so call once anyway
	fence   uint32
}

// needEvent tells whether a free-running index passed event on its way from old to now (vring_need_event in
// virtio-v1.3 appendix A). Written with the distance, so that a batch of a whole packed ring works too.
func needEvent(event, now, distance uint16) bool { return now-event-1 < distance }

// Publish makes pushed chains visible to the driver, decides once for all of them whether to call it and does.
// called tells that the call eventfd was signalled. The error is that of signalling.
func (q *Queue) Publish() (called bool, err error) {
	if q.err != nil {
		return false, nil
	}
	var wanted bool
	if q.packed {
		if q.ring.firstAddr == 0 {
			return false, nil
		}
		store := q.logPushed()
		batch := q.ring.publish(&q.inflight.packed)
		q.logPublished(store)
		wanted = q.packedWantsCall(batch)
	} else {
		if q.split.published == q.split.usedIdx {
			return false, nil
		}
		store := q.logPushed()
		old := q.split.publish(&q.inflight.split)
		q.logPublished(store)
		wanted = q.splitWantsCall(old)
	}
	q.notifier.known = true
	if !wanted && q.notifier.onEmpty && q.inflight.count == 0 && !q.Pending() {
		wanted = true // virtio-v1.3 2.7.7.3, legacy: even when suppressed
	}
	if !wanted || q.notifier.call == nil {
		return false, nil
	}
	return true, q.Notify()
}

// splitWantsCall implements virtio-v1.3 2.7.7.2. The store of the used index and this load are both atomic: in order.
func (q *Queue) splitWantsCall(old uint16) bool {
	s := &q.split
	if !q.eventIdx {
		return load16(s.avail)&availNoInterrupt == 0
	}
	event := load16(s.usedEvent())
	return !q.notifier.known || needEvent(event, s.published, s.published-old)
}

// packedWantsCall implements virtio-v1.3 2.8.10 for a batch of that many descriptors.
func (q *Queue) packedWantsCall(batch uint32) bool {
	p := &q.ring
	word := load32(p.driver)
	flags := word >> 16 & 3
	if flags != eventFlagsDesc || !q.eventIdx {
		return flags != eventFlagsDisable
	}
	at := cursorOf(uint16(word))
	event := uint16(at.idx)
	if at.wrap != p.used.wrap {
		event -= uint16(p.size) // of the lap before
	}
	return !q.notifier.known || needEvent(event, uint16(p.used.idx), uint16(batch))
}

// Notify signals the call eventfd, if there is one, whatever the driver has said. An error is the kernel's (write(2)).
func (q *Queue) Notify() error {
	if q.notifier.call == nil {
		return nil
	}
	if err := sys.Signal(q.notifier.call.Int()); err != nil {
		return errors.Wrapf(err, "call the driver of queue %d", q.state.index)
	}
	return nil
}

// DisableKicks tells the driver that we look by ourselves. It is a hint, and cheap to repeat.
func (q *Queue) DisableKicks() {
	if q.quiet() || q.kicks == kicksDisabled {
		return
	}
	q.kicks = kicksDisabled
	switch {
	case q.packed:
		store32(q.ring.device, eventFlagsDisable<<16)
	case q.eventIdx:
		// There is no "never": the index farthest away costs one needless kick every 65536 chains.
		put16(q.split.availEvent(), q.split.availIdx+(1<<15))
	default:
		q.split.usedFlags = usedNoNotify
		q.split.storeUsed()
	}
	q.logEvent()
}

// EnableKicks asks the driver for a kick with the next chain, and then looks whether one is there already: only when it
// returns false the caller may sleep (virtio-v1.3 2.7.10.1, 2.8.10.1).
func (q *Queue) EnableKicks() (pending bool) {
	if q.quiet() {
		return false
	}
	q.kicks = kicksEnabled
	switch {
	case q.packed && q.eventIdx:
		store32(q.ring.device, uint32(q.ring.avail.offWrap())|eventFlagsDesc<<16)
	case q.packed:
		store32(q.ring.device, eventFlagsEnable<<16)
	case q.eventIdx:
		put16(q.split.availEvent(), q.split.availIdx)
		atomic.SwapUint32(&q.notifier.fence, 0) // a plain store needs a full fence before Pending loads
	default:
		q.split.usedFlags = 0
		q.split.storeUsed()
	}
	q.logEvent()
	return q.Pending()
}

// quiet tells whether the rings are not to be written any more: a stopped device touches no guest memory (vhost-user,
// "Suspended device state"), a broken one does not know what it would hit.
func (q *Queue) quiet() bool { return q.err != nil || q.state.stopped }

// SetCall replaces the call eventfd, -1 for none; the queue owns it. A call may have been lost: Notify afterwards.
func (q *Queue) SetCall(fd int) { q.notifier.call = q.replace(q.notifier.call, fd) }

// SetErr replaces the err eventfd, -1 for none; the queue owns it.
func (q *Queue) SetErr(fd int) { q.notifier.errfd = q.replace(q.notifier.errfd, fd) }

// replace closes old, of which nothing can be lost: an eventfd has no data to flush.
func (q *Queue) replace(old *sys.FD, fd int) *sys.FD {
	_ = old.Close()
	if q.state.closed {
		_ = own(fd).Close()
		return nil
	}
	return own(fd)
}

// failed tells the front-end that the queue is broken. It has no other way to learn it, and we none to retry.
func (n *notifier) failed() {
	if n.errfd != nil {
		_ = sys.Signal(n.errfd.Int())
	}
}
