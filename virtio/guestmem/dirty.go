package guestmem

import "github.com/pkg/errors"

// logPageShift is the size of the pages that a dirty log knows, whatever pages the host or the guest have
// (vhost-user, "Migration": VHOST_LOG_PAGE is 0x1000).
const logPageShift = 12

// maxLogSize is a bit for each page of the largest guest-physical address space, that of 52 bits.
const maxLogSize = 1 << (52 - logPageShift - 3)

// DirtyLog is a bitmap that a front-end shares while it migrates its guest: bit p%8 of byte p/8 says that page p of
// guest-physical memory has been written since the front-end looked last.
//
// Any goroutine may mark. Whoever made the log closes it, when nobody marks in it any more.
type DirtyLog struct {
	mapping
	bits  uint64 // host address of the bitmap's first byte
	pages uint64 // that it has bits for
}

// MapLog maps the log of size bytes that begins at offset of the file fd, which stays the caller's. The file must be
// large enough now; it may still shrink later, see Recover.
func MapLog(fd int, offset, size uint64) (*DirtyLog, error) {
	if size == 0 || size > maxLogSize || offset >= MaxMapping {
		return nil, errors.Errorf("dirty log of %#x bytes at offset %#x is out of range", size, offset)
	}
	page, err := inspect(fd, RegionInfo{Offset: offset, Size: size})
	if err != nil {
		return nil, errors.Wrap(err, "dirty log")
	}
	lead := offset & (page - 1)
	l := &DirtyLog{mapping: mapping{size: (lead + size + page - 1) &^ (page - 1)}, pages: 8 * size}
	if l.base, err = mapShared(fd, offset-lead, l.size); err != nil {
		return nil, errors.Wrapf(err, "map the dirty log, size=%#x offset=%#x", size, offset)
	}
	l.bits = l.base + lead
	live.add(&l.mapping)
	return l, nil
}

// Close unmaps the log. Closing nil, or again, does nothing.
func (l *DirtyLog) Close() {
	if l == nil || l.size == 0 {
		return
	}
	live.remove(&l.mapping)
	if err := unmap(l.base, l.size); err != nil {
		panic(err) // the arguments are those of a mapping that we made: our own bug
	}
	*l = DirtyLog{}
}

// Mark says that the n bytes from gpa on were written, after they were: the front-end clears a bit before it copies the
// page. Pages that the log has no bits for are left out. It may fault: the caller holds a guard (see Recover).
//
// A bit that is set already is set again, because only the locked operation keeps our earlier stores before it.
func (l *DirtyLog) Mark(gpa GPA, n uint64) {
	first := uint64(gpa) >> logPageShift
	if n == 0 || first >= l.pages {
		return
	}
	end := uint64(gpa) + (n - 1)
	if end < uint64(gpa) {
		end = 1<<64 - 1
	}
	for last := min(end>>logPageShift, l.pages-1); first <= last; {
		at := l.bits + first/8
		shift := at%4*8 + first%8 // in the aligned word that holds the byte; the bitmap may begin anywhere in one
		count := min(32-shift, last-first+1)
		or32(at&^3, uint32(1<<count-1)<<shift)
		first += count
	}
}
