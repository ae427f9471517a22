package fusedisk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestCache: a sync covers what had arrived, luck decides about the rest, and never puts anything else there.
func TestCache(t *testing.T) {
	for _, c := range []struct {
		name string
		luck float64
		want [3]string // what each of three sectors may hold
		lost [2]int    // at least, at most
	}{
		{name: "no luck", luck: 0, want: [3]string{"1", "2", "\x00"}, lost: [2]int{2, 2}},
		{name: "luck", luck: 1, want: [3]string{"34", "2", "5"}, lost: [2]int{0, 1}},
		{name: "some luck", luck: 0.5, want: [3]string{"134", "2", "\x005"}, lost: [2]int{0, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(50) {
				d := newCache(3 * SectorSize)
				sector := func(content byte, at uint64) {
					d.write(bytes.Repeat([]byte{content}, SectorSize), at*SectorSize)
				}
				sector('1', 0)
				sector('2', 1)
				arrived := d.arrived
				sector('3', 0)
				sector('4', 0)
				sector('5', 2)
				d.sync(arrived)
				if !bytes.Equal(d.latest[:SectorSize], bytes.Repeat([]byte{'4'}, SectorSize)) {
					t.Fatal("what was written last is not what is read")
				}
				lost := d.cut(c.luck, rand.New(rand.NewPCG(seed, 0)))
				if lost < c.lost[0] || lost > c.lost[1] {
					t.Errorf("%d sectors lost, want %d to %d", lost, c.lost[0], c.lost[1])
				}
				for i, may := range c.want {
					b := d.latest[i*SectorSize : (i+1)*SectorSize]
					if !bytes.Contains([]byte(may), b[:1]) || !bytes.Equal(b, bytes.Repeat(b[:1], SectorSize)) {
						t.Errorf("sector %d holds %q, want one of %q", i, b[0], may)
					}
				}
				if !bytes.Equal(d.latest, d.stable) {
					t.Error("what is read is not what is stable")
				}
			}
		})
	}
}
