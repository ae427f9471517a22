package guestmem

import (
	"runtime"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func TestTruncatedMemoryIsAFaultError(t *testing.T) {
	r, fd := newRegion(t, RegionInfo{Size: 4 * page})
	if err := unix.Ftruncate(fd.Int(), page); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2*page)
	for name, access := range map[string]func(){
		"copy in":  func() { CopyIn(buf, []Iovec{{r.host, 2 * page}}) },
		"copy out": func() { CopyOut([]Iovec{{r.host + 3*page, 10}}, buf) },
		"load":     func() { buf[0] = hostBytes(r.host+2*page, 1)[0] },
		"store":    func() { hostBytes(r.host+2*page, 1)[0] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			var fault *FaultError
			if err := guarded(access); !errors.As(err, &fault) {
				t.Fatalf("err = %v; want a FaultError", err)
			}
			if off := fault.Addr - r.host; off < page || off >= 4*page {
				t.Fatalf("%v: not in the part that is gone", fault)
			}
		})
	}
	if err := guarded(func() { CopyIn(buf, []Iovec{{r.host, page}}) }); err != nil {
		t.Fatalf("the part that is there: %v", err)
	}
}

func TestRecoverPanicsAgain(t *testing.T) {
	newRegion(t, RegionInfo{Size: page})
	var none *Region
	table := map[string]func(){
		"our own panic":    func() { panic("mine") },
		"index error":      func() { _ = make([]byte, 1)[len(t.Name())] },
		"nil dereference":  func() { none.release() },
		"unmapped address": func() { hostBytes(page, 1)[0] = 1 },
	}
	for name, f := range table {
		t.Run(name, func(t *testing.T) {
			var err error
			defer func() {
				if p := recover(); p == nil || err != nil {
					t.Fatalf("swallowed: %v", err)
				}
			}()
			err = guarded(f)
		})
	}
}

func TestRecoverWithoutPanicKeepsTheError(t *testing.T) {
	want := errors.New("mine")
	f := func() (err error) {
		defer Recover(&err)
		return want
	}
	if err := f(); !errors.Is(err, want) {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = f() }); n != 0 {
		t.Fatalf("the guard allocates %v times", n)
	}
}

// TestFaultErrorIsARuntimeFault pins what Recover relies on: the runtime's panic value has the address.
func TestFaultErrorIsARuntimeFault(t *testing.T) {
	defer func() {
		fault, ok := recover().(interface {
			runtime.Error
			Addr() uintptr
		})
		if !ok || fault.Addr() != page {
			t.Fatalf("no address in %v", fault)
		}
	}()
	_ = guarded(func() { hostBytes(page, 1)[0] = 1 })
}
