package guestmem

import (
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/sys"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const page = 4096

// newRegion maps a fresh memfd of just the right size.
func newRegion(t testing.TB, info RegionInfo) (*Region, *sys.FD) {
	t.Helper()
	fd, err := sys.Memfd("guestmem", int64(info.Offset+info.Size))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	r, err := Map(fd.Int(), info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, fd
}

// newTable maps the regions.
func newTable(t testing.TB, infos ...RegionInfo) *Table {
	t.Helper()
	var regions []*Region
	for _, info := range infos {
		r, _ := newRegion(t, info)
		regions = append(regions, r)
	}
	table, err := NewTable(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Release)
	return table
}

// guarded runs f as the data path does.
func guarded(f func()) (err error) {
	defer Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	f()
	return nil
}

// pipeEnd is a descriptor that cannot be mapped.
func pipeEnd(t *testing.T) int {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) })
	return p[0]
}
