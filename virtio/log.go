package virtio

import "github.com/vublk/vublk/virtio/guestmem"

// ringLog is where a queue notes what it writes of its rings while the front-end migrates the guest (vhost-user,
// "Migration"; VHOST_VRING_F_LOG). What requests write into their buffers is the device's to note.
//
// Pages are marked after they were written. What the driver finds by the index is marked before the index shows it, so
// that nothing that was seen is unmarked should we die in between; then the index itself.
type ringLog struct {
	dirty *guestmem.DirtyLog // nil: off
	// at is the guest-physical address that SET_VRING_ADDR calls log: of the used ring, or of the device event
	// suppression structure.
	at guestmem.GPA
	// desc is that of a packed ring's descriptors, where used elements are written. No message tells it: it comes from
	// the memory table.
	desc guestmem.GPA
}

// SetLog has the queue mark what it writes of its rings in l, nil for nowhere, from now on. at is the guest-physical
// address of the used ring, or of the device event suppression structure in packed rings. The log stays the caller's,
// who closes it after the queue has been given another one, or was closed.
func (q *Queue) SetLog(l *guestmem.DirtyLog, at guestmem.GPA) {
	q.log.dirty, q.log.at = l, at
}

// logAll marks all that a queue ever writes of its rings. A queue that begins with a log does so: a predecessor may have
// died between a store and its mark.
func (q *Queue) logAll() {
	l, n := q.log.dirty, uint64(q.state.size)
	switch {
	case l == nil:
	case q.packed:
		l.Mark(q.log.desc, descriptorSize*n)
		l.Mark(q.log.at, packedEventBytes)
	default:
		l.Mark(q.log.at, usedRing+usedEntry*n+2)
	}
}

// logPushed marks the elements that are about to be published. It returns the address that the publishing store writes.
func (q *Queue) logPushed() (store guestmem.GPA) {
	if q.log.dirty == nil {
		return 0
	}
	if q.packed {
		first := (q.ring.firstAddr - 8 - q.ring.desc) / descriptorSize
		q.logSpan(q.log.desc, descriptorSize, first, uint64(q.ring.batch))
		return q.log.desc + guestmem.GPA(descriptorSize*first)
	}
	s := &q.split
	q.logSpan(q.log.at+usedRing, usedEntry, s.slot(s.published), uint64(s.usedIdx-s.published))
	return q.log.at
}

// logSpan marks n places of a ring from the first on, around its end.
func (q *Queue) logSpan(ring guestmem.GPA, place guestmem.GPA, first, n uint64) {
	tail := min(n, uint64(q.state.size)-first)
	q.log.dirty.Mark(ring+place*guestmem.GPA(first), uint64(place)*tail)
	q.log.dirty.Mark(ring, uint64(place)*(n-tail))
}

// logPublished marks what the publishing store has written: flags and index of a used ring, or the first descriptor.
func (q *Queue) logPublished(store guestmem.GPA) {
	if q.log.dirty == nil {
		return
	}
	n := uint64(descriptorSize)
	if !q.packed {
		n = usedRing
	}
	q.log.dirty.Mark(store, n)
}

// logEvent marks what tells the driver whether we want to be kicked.
func (q *Queue) logEvent() {
	switch {
	case q.log.dirty == nil:
	case q.packed:
		q.log.dirty.Mark(q.log.at, packedEventBytes)
	case q.eventIdx:
		q.log.dirty.Mark(q.log.at+guestmem.GPA(q.split.availEvent()-q.split.used), 2)
	default:
		q.log.dirty.Mark(q.log.at, usedRing)
	}
}
