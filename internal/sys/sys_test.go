package sys_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/sys"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestFDOwnership(t *testing.T) {
	a, err := sys.EventFD()
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Dup()
	if err != nil {
		t.Fatal(err)
	}
	n := a.Disown()
	if a.Int() != -1 || a.Close() != nil {
		t.Fatal("a disowned FD still holds a descriptor")
	}
	for _, f := range []*sys.FD{sys.NewFD(n), b} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatalf("second close: %v", err)
		}
	}
	if err := unix.Close(n); err == nil {
		t.Fatal("descriptor was still open")
	}
	var none *sys.FD
	if none.Int() != -1 || none.Close() != nil {
		t.Fatal("a nil FD is not an empty one")
	}
}

func TestEventFD(t *testing.T) {
	e, err := sys.EventFD()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for range 3 {
		if err := sys.Signal(e.Int()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := sys.Drain(e.Int()); n != 3 || err != nil {
		t.Fatalf("counter = %d, %v; want 3", n, err)
	}
	if n, err := sys.Drain(e.Int()); n != 0 || err != nil {
		t.Fatalf("empty counter = %d, %v; want 0", n, err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _ = sys.Signal(e.Int()) }); allocs != 0 {
		t.Fatalf("Signal allocates %v times", allocs)
	}
	if err := sys.Signal(-1); err == nil {
		t.Fatal("signalling no descriptor succeeded")
	}
}

func TestSignalOfAFullCounterSucceeds(t *testing.T) {
	e, err := sys.EventFD()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	full := []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, err := unix.Write(e.Int(), full); err != nil {
		t.Fatal(err)
	}
	if err := sys.Signal(e.Int()); err != nil {
		t.Fatalf("full counter: %v", err)
	}
}

func TestMemfd(t *testing.T) {
	m, err := sys.Memfd("test", 8192)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(m.Int(), &st); err != nil || st.Size != 8192 {
		t.Fatalf("size %d, %v", st.Size, err)
	}
	if _, err := sys.Memfd("test", -1); err == nil {
		t.Fatal("a negative size was accepted")
	}
}
