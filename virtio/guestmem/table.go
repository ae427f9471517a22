package guestmem

import (
	"slices"
	"sync/atomic"

	"github.com/pkg/errors"
)

// Table is a guest's memory at one moment: regions that overlap neither in GPA nor in FrontendVA. It is immutable.
type Table struct {
	regions []*Region // by GPA
	spans   []span    // the same, flat, for the lookups of the data path
	refs    atomic.Int32
}

// span is a region as translation sees it.
type span struct {
	gpa, size, host uint64
}

// NewTable makes a table of regions, in any order, and retains them. It starts with one reference, the caller's. An error says which two overlap, or which is closed.
func NewTable(regions ...*Region) (*Table, error) {
	sorted := slices.Clone(regions)
	slices.SortFunc(sorted, func(a, b *Region) int { return compare(uint64(a.info.GPA), uint64(b.info.GPA)) })
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1].info, sorted[i].info
		if uint64(b.GPA)-uint64(a.GPA) < a.Size {
			return nil, errors.Errorf("regions gpa=%#x size=%#x and gpa=%#x overlap", a.GPA, a.Size, b.GPA)
		}
	}
	if err := checkUserAddrs(sorted); err != nil {
		return nil, err
	}
	t := &Table{spans: make([]span, 0, len(sorted)), regions: make([]*Region, 0, len(sorted))}
	t.refs.Store(1)
	for _, r := range sorted {
		if !r.retain() {
			t.Release()
			return nil, errors.Errorf("region gpa=%#x is closed", r.info.GPA)
		}
		t.regions = append(t.regions, r)
		t.spans = append(t.spans, span{gpa: uint64(r.info.GPA), size: r.info.Size, host: r.host})
	}
	return t, nil
}

func checkUserAddrs(regions []*Region) error {
	sorted := slices.Clone(regions)
	slices.SortFunc(sorted, func(a, b *Region) int { return compare(uint64(a.info.UserAddr), uint64(b.info.UserAddr)) })
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1].info, sorted[i].info
		if uint64(b.UserAddr)-uint64(a.UserAddr) < a.Size {
			return errors.Errorf("regions uva=%#x size=%#x and uva=%#x overlap", a.UserAddr, a.Size, b.UserAddr)
		}
	}
	return nil
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Regions returns the regions by GPA. The slice is the table's own.
func (t *Table) Regions() []*Region { return t.regions }

// Retain takes one more reference. The caller must hold one.
func (t *Table) Retain() {
	if t.refs.Add(1) <= 1 {
		panic("guestmem: table retained after its last release")
	}
}

// Release drops a reference; with the last one the table drops its regions.
func (t *Table) Release() {
	switch n := t.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("guestmem: table released more often than retained")
	default:
		for _, r := range t.regions {
			r.release()
		}
	}
}

// Translate appends the host memory of [gpa, gpa+n) to dst, split where regions that are adjacent for the guest are
// not for us. It never grows dst beyond its capacity and never allocates. On an error dst is returned as it was.
func (t *Table) Translate(gpa GPA, n uint32, dst []Iovec) ([]Iovec, error) {
	at, left, out := uint64(gpa), uint64(n), dst
	if n > 0 && at+(left-1) < at {
		return dst, ErrUnmapped
	}
	for i := t.find(at); left > 0; i++ {
		if i >= len(t.spans) {
			return dst, ErrUnmapped
		}
		s := &t.spans[i]
		off := at - s.gpa // wraps to a large number when at lies in a gap before the span
		if off >= s.size {
			return dst, ErrUnmapped
		}
		if len(out) == cap(out) {
			return dst, ErrTooManySegments
		}
		take := min(left, s.size-off)
		out = append(out, Iovec{Base: s.host + off, Len: take})
		at += take
		left -= take
	}
	return out, nil
}

// find returns the index of the first span that ends behind at.
func (t *Table) find(at uint64) int {
	lo, hi := 0, len(t.spans)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s := &t.spans[mid]; s.gpa+(s.size-1) < at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// HostAddr finds an extent given by front-end address, such as a ring. All of it must lie within one region.
func (t *Table) HostAddr(va FrontendVA, n uint64) (addr uint64, gpa GPA, err error) {
	for _, r := range t.regions {
		off := uint64(va - r.info.UserAddr)
		if off < r.info.Size && n <= r.info.Size-off {
			return r.host + off, r.info.GPA + GPA(off), nil
		}
	}
	return 0, 0, errors.Wrapf(ErrUnmapped, "extent uva=%#x size=%#x", va, n)
}

// GPAOf is the reverse of translation: where the guest sees n bytes at a host address within one region.
func (t *Table) GPAOf(host, n uint64) (GPA, bool) {
	for i := range t.spans {
		s := &t.spans[i]
		if off := host - s.host; off < s.size && n <= s.size-off {
			return GPA(s.gpa + off), true
		}
	}
	return 0, false
}
