package driver

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// SectorSize is virtio-blk's unit.
const SectorSize = 512

// A sector's content is its mark, over and over: the sector's number and one, and the number of the write. All zeros is a
// sector that was never written, or zeroed.
const markSize = 16

// Fill makes what a sector holds after its write of this number.
func Fill(b []byte, sector, number uint64) {
	for i := 0; i < SectorSize; i += markSize {
		binary.LittleEndian.PutUint64(b[i:], sector+1)
		binary.LittleEndian.PutUint64(b[i+8:], number)
	}
}

// NumberIn returns the number of the write that a sector's content is of; 0: none.
func NumberIn(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:]) }

// Number is NumberIn for a content that must be whole and in its place.
func Number(b []byte, sector uint64) (uint64, error) {
	number := NumberIn(b)
	name := sector + 1
	if number == 0 {
		name = 0
	}
	for i := 0; i < SectorSize; i += markSize {
		if binary.LittleEndian.Uint64(b[i:]) != name || binary.LittleEndian.Uint64(b[i+8:]) != number {
			return 0, errors.Errorf("sector %d: garbage: byte %d: % x", sector, i, b[i:i+markSize])
		}
	}
	return number, nil
}
