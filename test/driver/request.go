package driver

import (
	"encoding/binary"
	"fmt"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// Features of a device (virtio-v1.3 5.2.3) that a front-end may decline.
const (
	FeatureFlush virtio.Features = 1 << 9  // VIRTIO_BLK_F_FLUSH
	FeatureWCE   virtio.Features = 1 << 11 // VIRTIO_BLK_F_CONFIG_WCE
)

// ConfigWriteback is the offset of writeback in virtio_blk_config.
const ConfigWriteback = 32

// Status bytes.
const (
	statusOK = 0
	// StatusOpen is what a request's status byte holds before the device has written it. A request that completes with it
	// was not executed.
	StatusOpen = 0xff
)

const (
	headerSize  = 16
	segmentSize = 16
	unmap       = 1 // flag of a segment of WRITE_ZEROES
)

// Request is what a slot has the device do.
type Request struct {
	Kind   blk.RequestType
	Sector uint64
	Size   int // bytes that are read, written, discarded or zeroed; 0: a FLUSH

	Unmap    bool // WRITE_ZEROES may deallocate
	Parts    int  // areas that the data is cut into; 0: 1
	Shift    int  // bytes from a page's beginning to the data's: no multiple of the disk's unit has the back-end copy it
	Indirect bool // the chain is a table
}

// segmented tells requests whose data says where, instead of being what.
func (r Request) segmented() bool {
	return r.Kind == blk.RequestDiscard || r.Kind == blk.RequestWriteZeroes
}

// data is how many bytes go with the header and the status.
func (r Request) data() int {
	if r.segmented() {
		return segmentSize
	}
	return r.Size
}

// written is the used length of a success.
func (r Request) written() uint32 {
	if r.Kind == blk.RequestIn {
		return uint32(r.Size) + 1
	}
	return 1
}

func (r Request) String() string {
	return fmt.Sprintf("%v of %d bytes at sector %d", r.Kind, r.Size, r.Sector)
}

// putHeader writes struct virtio_blk_req's beginning.
func (r Request) putHeader(b []byte) {
	sector := r.Sector
	if r.segmented() {
		sector = 0
	}
	binary.LittleEndian.PutUint64(b, uint64(r.Kind))
	binary.LittleEndian.PutUint64(b[8:], sector)
}

// putSegment writes struct virtio_blk_discard_write_zeroes.
func (r Request) putSegment(b []byte) {
	flags := uint64(0)
	if r.Unmap {
		flags = unmap
	}
	binary.LittleEndian.PutUint64(b, r.Sector)
	binary.LittleEndian.PutUint64(b[8:], uint64(r.Size/SectorSize)|flags<<32)
}

// StatusError tells that a request has ended and has failed.
type StatusError struct {
	Request Request
	Status  byte
}

func (e *StatusError) Error() string { return fmt.Sprintf("%v: status %d", e.Request, e.Status) }
