package guestmem

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pkg/errors"
)

func TestNewTableRefusesOverlaps(t *testing.T) {
	a, _ := newRegion(t, RegionInfo{GPA: 0x10000, Size: 4 * page, UserAddr: 0x70000})
	for _, tc := range []struct {
		name string
		info RegionInfo
		ok   bool
	}{
		{"apart", RegionInfo{GPA: 0x20000, Size: page, UserAddr: 0x10000}, true},
		{"adjacent in both", RegionInfo{GPA: 0x14000, Size: page, UserAddr: 0x74000}, true},
		{"adjacent from below", RegionInfo{GPA: 0xf000, Size: page, UserAddr: 0x6f000}, true},
		{"same gpa", RegionInfo{GPA: 0x10000, Size: page, UserAddr: 0x10000}, false},
		{"inside in gpa", RegionInfo{GPA: 0x12000, Size: page, UserAddr: 0x10000}, false},
		{"last byte in gpa", RegionInfo{GPA: 0xf000, Size: page + 1, UserAddr: 0x10000}, false},
		{"same user address", RegionInfo{GPA: 0x80000, Size: page, UserAddr: 0x70000}, false},
		{"around in user addresses", RegionInfo{GPA: 0x80000, Size: 16 * page, UserAddr: 0x68000}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, _ := newRegion(t, tc.info)
			for _, regions := range [][]*Region{{a, b}, {b, a}} {
				table, err := NewTable(regions...)
				if (err == nil) != tc.ok {
					t.Fatalf("err = %v", err)
				}
				if err == nil {
					if got := table.Regions(); len(got) != 2 || got[0].info.GPA > got[1].info.GPA {
						t.Fatal("regions are not sorted")
					}
					table.Release()
				}
			}
		})
	}
}

func TestTranslate(t *testing.T) {
	table := newTable(t,
		RegionInfo{GPA: 0x3000, Size: 2 * page, UserAddr: 0x900000},
		RegionInfo{GPA: 0x1000, Size: 2 * page, UserAddr: 0x100000},
		RegionInfo{GPA: 0x5000, Size: page, UserAddr: 0x500000},
		RegionInfo{GPA: 0x8000, Size: page, UserAddr: 0x800000},
		RegionInfo{GPA: GPA(^uint64(0) - page + 1), Size: page, UserAddr: 0xf00000},
	)
	host := func(i int, off uint64) uint64 { return table.regions[i].host + off }
	for _, tc := range []struct {
		name string
		gpa  GPA
		n    uint32
		room int
		want []Iovec
		err  error
	}{
		{"first byte", 0x1000, 1, 4, []Iovec{{host(0, 0), 1}}, nil},
		{"a whole region", 0x1000, 2 * page, 4, []Iovec{{host(0, 0), 2 * page}}, nil},
		{"nothing", 0x1800, 0, 4, nil, nil},
		{"nothing at an unmapped place", 0, 0, 0, nil, nil},
		{"over a border", 0x2ff0, 32, 4, []Iovec{{host(0, 0x1ff0), 16}, {host(1, 0), 16}}, nil},
		{"over two borders", 0x2ff0, 2*page + 32, 4, []Iovec{{host(0, 0x1ff0), 16}, {host(1, 0), 2 * page}, {host(2, 0), 16}}, nil},
		{"no room", 0x1000, 1, 0, nil, ErrTooManySegments},
		{"room for one of two", 0x2ff0, 32, 1, nil, ErrTooManySegments},
		{"below everything", 0xfff, 1, 4, nil, ErrUnmapped},
		{"from below", 0xfff, 2, 4, nil, ErrUnmapped},
		{"into a gap", 0x5fff, 2, 4, nil, ErrUnmapped},
		{"in a gap", 0x7000, 1, 4, nil, ErrUnmapped},
		{"over a gap", 0x5ff0, 3 * page, 4, nil, ErrUnmapped},
		{"behind everything but the top", 0x9000, 1, 4, nil, ErrUnmapped},
		{"the last byte there is", GPA(^uint64(0)), 1, 4, []Iovec{{host(4, page-1), 1}}, nil},
		{"around the end", GPA(^uint64(0)), 2, 4, nil, ErrUnmapped},
		{"4 GiB - 1", 0x1000, 1<<32 - 1, 4, nil, ErrUnmapped},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dst := make([]Iovec, 0, tc.room)
			got, err := table.Translate(tc.gpa, tc.n, dst)
			if !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) {
				t.Fatalf("= %#x, %v; want %#x, %v", got, err, tc.want, tc.err)
			}
			var l Lookup
			l.Reset(table)
			for range 2 { // the second time with a hint
				if got, err := l.Translate(tc.gpa, tc.n, dst); !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) {
					t.Fatalf("Lookup = %#x, %v", got, err)
				}
				addr, hit := l.Hit(tc.gpa, tc.n)
				if hit && tc.n > 0 && (len(tc.want) != 1 || tc.want[0].Base != addr) && tc.room > 0 {
					t.Fatalf("Hit = %#x; want %#x", addr, tc.want)
				}
			}
		})
	}
}

func TestTranslateAppends(t *testing.T) {
	table := newTable(t, RegionInfo{Size: page})
	dst := make([]Iovec, 0, 2)
	dst, _ = table.Translate(16, 1, dst)
	dst, err := table.Translate(32, 1, dst)
	if err != nil || len(dst) != 2 {
		t.Fatal(dst, err)
	}
	if after, err := table.Translate(48, 1, dst); !errors.Is(err, ErrTooManySegments) || len(after) != 2 {
		t.Fatal(after, err)
	}
}

func TestEmptyTable(t *testing.T) {
	table := newTable(t)
	if _, err := table.Translate(0, 1, make([]Iovec, 0, 1)); !errors.Is(err, ErrUnmapped) {
		t.Fatal(err)
	}
	if _, _, err := table.HostAddr(0, 1); !errors.Is(err, ErrUnmapped) {
		t.Fatal(err)
	}
}

func TestHostAddr(t *testing.T) {
	table := newTable(t,
		RegionInfo{GPA: 0x1000, Size: 2 * page, UserAddr: 0x100000},
		RegionInfo{GPA: 0x8000, Size: page, UserAddr: 0x102000}, // adjacent for the front-end, not for the guest
	)
	for _, tc := range []struct {
		va  FrontendVA
		n   uint64
		gpa GPA
		ok  bool
	}{
		{0x100000, 1, 0x1000, true},
		{0x100000, 2 * page, 0x1000, true},
		{0x101fff, 1, 0x2fff, true},
		{0x102010, page - 16, 0x8010, true},
		{0x101fff, 2, 0, false},
		{0x100000, 2*page + 1, 0, false},
		{0xfffff, 1, 0, false},
		{0xfffff, 2, 0, false},
		{0x103000, 1, 0, false},
		{0x100010, ^uint64(0), 0, false},
		{0x1000, 1, 0, false}, // a gpa is no user address
	} {
		addr, gpa, err := table.HostAddr(tc.va, tc.n)
		if (err == nil) != tc.ok || gpa != tc.gpa {
			t.Errorf("HostAddr(%#x, %#x) = %#x, %v", tc.va, tc.n, gpa, err)
		}
		if back, ok := table.GPAOf(addr, tc.n); err == nil && (!ok || back != gpa) {
			t.Errorf("GPAOf = %#x, %v; want %#x", back, ok, gpa)
		}
	}
	if _, ok := table.GPAOf(1, 1); ok {
		t.Error("an address of no region has a gpa")
	}
	r := table.regions[0]
	if _, ok := table.GPAOf(r.host+r.info.Size-1, 2); ok {
		t.Error("an extent over a region's end has a gpa")
	}
}

func TestTranslationDoesNotAllocate(t *testing.T) {
	table := newTable(t, RegionInfo{GPA: 0x1000, Size: page}, RegionInfo{GPA: 0x2000, Size: page, UserAddr: page})
	dst := make([]Iovec, 0, 2)
	var l Lookup
	l.Reset(table)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = table.Translate(0x1ff0, 32, dst)
		_, _ = table.Translate(0x3000, 32, dst)
		_, _ = l.Translate(0x1ff0, 32, dst)
		_, _ = l.Translate(0x1ff0, 32, dst[:2])
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzTranslate compares with a model that looks at each byte for itself. Regions are small and close together, so
// that borders and gaps are met often.
func FuzzTranslate(f *testing.F) {
	f.Add(uint64(1), uint64(0), uint32(100))
	f.Add(uint64(7), uint64(1000), uint32(3000))
	f.Add(uint64(8), ^uint64(0)-5, uint32(10))
	f.Fuzz(func(t *testing.T, layout, gpa uint64, n uint32) {
		n %= 5000
		table, top := fakeTable(rand.New(rand.NewPCG(layout, 0)), layout%2 == 0)
		for _, at := range []uint64{gpa, gpa % 8000, top - gpa%8000} {
			checkTranslation(t, table, at, n)
		}
	})
}

// fakeTable has regions that are not mapped, at the bottom or at the top of the address space.
func fakeTable(rnd *rand.Rand, high bool) (table *Table, top uint64) {
	var regions []*Region
	at := rnd.Uint64N(100)
	host := uint64(1 << 40)
	for range rnd.IntN(8) {
		r := &Region{info: RegionInfo{GPA: GPA(at), Size: 1 + rnd.Uint64N(1000), UserAddr: FrontendVA(host)}, host: host}
		r.refs.Store(1)
		regions = append(regions, r)
		at += r.info.Size + rnd.Uint64N(2)*rnd.Uint64N(50)
		host += 1 << 30
	}
	if high {
		for _, r := range regions {
			r.info.GPA -= GPA(at) // the last one may end with the address space
		}
		at = 0
	}
	table, err := NewTable(regions...)
	if err != nil {
		panic(err)
	}
	return table, at
}

func checkTranslation(t *testing.T, table *Table, gpa uint64, n uint32) {
	t.Helper()
	got, err := table.Translate(GPA(gpa), n, make([]Iovec, 0, 16))
	var l Lookup
	l.Reset(table)
	_, _ = l.Translate(GPA(gpa), 1, make([]Iovec, 0, 1))
	same, err2 := l.Translate(GPA(gpa), n, make([]Iovec, 0, 16))
	if !slices.Equal(got, same) || !errors.Is(err2, err) {
		t.Fatalf("Lookup %#x, %v differs from Table %#x, %v", same, err2, got, err)
	}
	var want []uint64 // host address of each byte
	for i := range uint64(n) {
		host, ok := modelByte(table, gpa+i)
		if !ok || gpa+i < gpa {
			if err == nil || len(got) != 0 {
				t.Fatalf("[%#x, +%#x) has no byte %d and gives %#x, %v", gpa, n, i, got, err)
			}
			return
		}
		want = append(want, host)
	}
	if err != nil {
		t.Fatalf("[%#x, +%#x) is mapped and gives %v", gpa, n, err)
	}
	var flat []uint64
	for _, v := range got {
		for i := range v.Len {
			flat = append(flat, v.Base+i)
		}
	}
	if !slices.Equal(flat, want) {
		t.Fatalf("[%#x, +%#x) gives %#x", gpa, n, got)
	}
	if addr, ok := l.Hit(GPA(gpa), n); ok && n > 0 && (addr != want[0] || len(got) != 1) {
		t.Fatalf("Hit = %#x; want %#x", addr, want[0])
	}
}

func modelByte(table *Table, gpa uint64) (uint64, bool) {
	for _, r := range table.regions {
		if first := uint64(r.info.GPA); gpa >= first && gpa <= first+r.info.Size-1 {
			return r.host + gpa - first, true
		}
	}
	return 0, false
}
