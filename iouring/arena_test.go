package iouring

import (
	"testing"
	"time"
)

func TestArena(t *testing.T) {
	a, err := NewArena(1 << 20)
	must(t, err)
	var last uint64
	for _, c := range []struct{ size, align int }{{1, 1}, {16, 16}, {4096, 4096}, {3, 2}, {100, 65536}, {8, 8}} {
		b, err := a.Alloc(c.size, c.align)
		must(t, err)
		if b.Addr()%uint64(c.align) != 0 || b.Addr() < last || len(b.Bytes()) != c.size || cap(b.Bytes()) != c.size {
			t.Fatalf("%+v: block at %#x with %d bytes after %#x", c, b.Addr(), len(b.Bytes()), last)
		}
		last = b.Addr() + uint64(c.size)
		for i, v := range b.Bytes() {
			if v != 0 {
				t.Fatalf("byte %d is not zero", i)
			}
			b.Bytes()[i] = 0xff
		}
	}
	for _, c := range []struct{ size, align int }{{0, 1}, {-1, 1}, {1, 0}, {1, 3}, {1, -8}, {1 << 20, 1}, {1, 1 << 62}} {
		if _, err := a.Alloc(c.size, c.align); err == nil {
			t.Errorf("%+v: allocated", c)
		}
	}
	must(t, a.Close())
	must(t, a.Close())
	if _, err := a.Alloc(1, 1); err == nil {
		t.Error("allocated from a closed arena")
	}
	for _, size := range []int{0, -1, 1 << 62} {
		if _, err := NewArena(size); err == nil {
			t.Errorf("arena of %d bytes", size)
		}
	}
}

func TestArenaToTheLastByte(t *testing.T) {
	a, err := NewArena(4096)
	must(t, err)
	defer func() { must(t, a.Close()) }()
	if _, err := a.Alloc(4096, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Alloc(1, 1); err == nil {
		t.Fatal("allocated more than there is")
	}
}

func TestPutTimespec(t *testing.T) {
	b := make([]byte, TimespecSize)
	PutTimespec(b, 3*time.Second+7)
	if b[0] != 3 || b[8] != 7 {
		t.Fatalf("% x", b)
	}
}
