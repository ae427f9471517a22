package native

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

const sectorSize = 512

// content fills b with what version v of the sectors from sector on holds. No two sectors and no two versions of one
// have a word in common.
func content(b []byte, sector, v uint64) {
	for ; len(b) > 0; b = b[sectorSize:] {
		x := mixed(sector<<32 ^ v)
		for i := 0; i < sectorSize; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], x)
			x += 0x9e37_79b9_7f4a_7c15
		}
		sector++
	}
}

// mixed spreads the bits of x (the finalizer of splitmix64, a bijection).
func mixed(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58_476d_1ce4_e5b9
	x ^= x >> 27
	x *= 0x94d0_49bb_1331_11eb
	return x ^ x>>31
}

// verify tells where b differs from version v.
func verify(b []byte, sector, v uint64) error {
	var want [sectorSize]byte
	for ; len(b) > 0; b = b[sectorSize:] {
		content(want[:], sector, v)
		if [sectorSize]byte(b) != want {
			at := 0
			for b[at] == want[at] {
				at++
			}
			return errors.Errorf("sector %d differs from version %d at byte %d: % x, want % x", sector, v, at, around(b, at), around(want[:], at))
		}
		sector++
	}
	return nil
}

func around(b []byte, at int) []byte { return b[at : at+min(16, sectorSize-at)] }
