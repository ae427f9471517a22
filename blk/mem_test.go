package blk_test

import (
	"bytes"
	"testing"

	"github.com/vublk/vublk/blk"
)

// TestMemoryRemembersGrains: what was never written reads as zeros, whatever lies beside it and whatever the guest's
// buffer held; what was written is there, across the borders of grains, too.
func TestMemoryRemembersGrains(t *testing.T) {
	const grain = blk.MemGrain
	mem, err := blk.NewMem(8*grain + 512) // the last one is cut off
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mem.Close() })
	r := newRig(t, mem, rigOptions{})
	want := make([]byte, 8*grain+512)
	fill := func(off, n int) {
		data := bytes.Repeat([]byte{byte(off>>9) | 1}, n)
		copy(want[off:], data)
		r.write(0, uint64(off)/512, data)
	}
	check := func(off, n int) {
		t.Helper()
		r.mem.Write(r.data, bytes.Repeat([]byte{0xee}, n))
		if got := r.readOver(0, uint64(off)/512, n); !bytes.Equal(got, want[off:off+n]) {
			t.Errorf("%d bytes at %d differ", n, off)
		}
	}
	check(0, len(want))
	fill(3*grain-512, 1024)
	fill(8*grain, 512)
	for _, c := range [][2]int{{0, len(want)}, {2 * grain, 512}, {3*grain - 512, 512}, {3 * grain, 4096}, {4 * grain, grain}, {2 * grain, 3 * grain}, {8*grain - 512, 1024}} {
		check(c[0], c[1])
	}
}

// readOver reads into a buffer that still holds what it held.
func (r *rig) readOver(q int, sector uint64, n int) []byte {
	r.t.Helper()
	r.readPieces(q, sector, uint32(n), uint32(n))
	return r.mem.Bytes(r.data, uint64(n))
}
