package bench

import (
	"encoding/binary"
	"time"

	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// The kinds of requests, as indices.
const (
	kindRead = iota
	kindWrite
	kindFlush
	kinds
)

// kindTypes are the request types in the header (virtio-v1.3 5.2.6).
var kindTypes = [kinds]uint32{kindRead: 0, kindWrite: 1, kindFlush: 4}

const (
	headerSize = 16
	// cell is what a slot has in guest memory beside its data: header and status in one cache line, as Linux' struct
	// virtblk_req has them, and nobody else's.
	cell = 64
	// statusOpen is what the status byte holds until the device writes it.
	statusOpen = 0xff
)

// slot is one request in flight with its memory in the guest. The chains that it may become are made in advance.
type slot struct {
	chains [kinds]virtiotest.Request
	cell   []byte // header, status
	kind   int
	issued time.Duration // since the loop's begin
}

// newSlot takes memory for one slot.
func newSlot(m *virtiotest.Memory, blockSize uint32, indirect bool) (slot, error) {
	at, err := m.Alloc(cell, cell)
	if err != nil {
		return slot{}, err
	}
	data, err := m.Alloc(uint64(blockSize), 4096)
	if err != nil {
		return slot{}, err
	}
	s := slot{cell: m.Bytes(at, cell)}
	header := virtiotest.Area{GPA: at, Len: headerSize}
	status := virtiotest.Area{GPA: at + headerSize, Len: 1}
	block := virtiotest.Area{GPA: data, Len: blockSize}
	s.chains[kindRead] = chain(indirect, []virtiotest.Area{header}, []virtiotest.Area{block, status})
	s.chains[kindWrite] = chain(indirect, []virtiotest.Area{header, block}, []virtiotest.Area{status})
	s.chains[kindFlush] = chain(indirect, []virtiotest.Area{header}, []virtiotest.Area{status})
	fill(m, data, uint64(blockSize))
	return s, nil
}

func chain(indirect bool, readable, writable []virtiotest.Area) virtiotest.Request {
	return virtiotest.Request{Readable: readable, Writable: writable, Indirect: indirect}
}

// fill gives the data some content and the pages a place, so that no page fault is measured.
func fill(m *virtiotest.Memory, at guestmem.GPA, n uint64) {
	b := m.Bytes(at, n)
	for i := range b {
		b[i] = byte(i>>12) ^ byte(i)
	}
}

// prepare writes the header of the next request and returns its chain.
func (s *slot) prepare(kind int, sector uint64) *virtiotest.Request {
	s.kind = kind
	binary.LittleEndian.PutUint64(s.cell, uint64(kindTypes[kind]))
	binary.LittleEndian.PutUint64(s.cell[8:], sector)
	s.cell[headerSize] = statusOpen
	return &s.chains[kind]
}

// status is what the device answered: 0 for success (VIRTIO_BLK_S_OK).
func (s *slot) status() byte { return s.cell[headerSize] }

// sector is what the last request was for.
func (s *slot) sector() uint64 { return binary.LittleEndian.Uint64(s.cell[8:]) }

// memoryFor is how much guest memory the queues of c need, rings and indirect tables included.
func (c *Config) memoryFor() uint64 {
	ring := uint64(c.ringSize())
	queue := ring*(16+16+16*tableLen) + 3*4096
	slots := uint64(c.Depth) * (cell + uint64(c.BlockSize) + 4096)
	const page = 1 << 21 // as a guest's memory is: a whole number of large pages
	return (uint64(c.Queues)*(queue+slots) + page) / page * page
}

// tableLen is how many entries each indirect table has room for.
const tableLen = 4
