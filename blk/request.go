package blk

import (
	"encoding/binary"
	"fmt"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// RequestType is the type field of a request (virtio-v1.3 5.2.6), without the legacy barrier flag.
type RequestType uint32

// The request types of virtio_blk.
const (
	RequestIn          RequestType = 0  // VIRTIO_BLK_T_IN
	RequestOut         RequestType = 1  // VIRTIO_BLK_T_OUT
	RequestFlush       RequestType = 4  // VIRTIO_BLK_T_FLUSH
	RequestFlushOut    RequestType = 5  // VIRTIO_BLK_T_FLUSH_OUT, a legacy synonym
	RequestGetID       RequestType = 8  // VIRTIO_BLK_T_GET_ID
	RequestDiscard     RequestType = 11 // VIRTIO_BLK_T_DISCARD
	RequestWriteZeroes RequestType = 13 // VIRTIO_BLK_T_WRITE_ZEROES

	// requestBarrier is a flag of legacy requests, whatever their type. Without its feature negotiated it means nothing.
	requestBarrier RequestType = 1 << 31 // VIRTIO_BLK_T_BARRIER
)

// String returns the name in the specification.
func (t RequestType) String() string {
	switch t {
	case RequestIn:
		return "IN"
	case RequestOut:
		return "OUT"
	case RequestFlush, RequestFlushOut:
		return "FLUSH"
	case RequestGetID:
		return "GET_ID"
	case RequestDiscard:
		return "DISCARD"
	case RequestWriteZeroes:
		return "WRITE_ZEROES"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// modifies tells requests after which the Disk has something to flush.
func (t RequestType) modifies() bool {
	return t == RequestOut || t == RequestDiscard || t == RequestWriteZeroes
}

// The status byte (virtio-v1.3 5.2.6).
const (
	statusOK     = 0 // VIRTIO_BLK_S_OK
	statusIOErr  = 1 // VIRTIO_BLK_S_IOERR
	statusUnsupp = 2 // VIRTIO_BLK_S_UNSUPP
)

// headerSize is the size of struct virtio_blk_req's readable beginning: type, reserved, sector.
const headerSize = 16

// request is a chain taken apart. Descriptor boundaries mean nothing: a chain is a readable and a writable stream.
type request struct {
	kind   RequestType
	sector uint64

	readable, writable       []guestmem.Iovec // without the header, without the status byte
	readableLen, writableLen uint64           // bytes
	status                   guestmem.Iovec   // the last writable byte

	header [headerSize]byte
}

// parse takes chain c apart, in place. It returns false when the chain has no room for a header or a status byte, so
// that nobody can be told what is wrong with it.
func (r *request) parse(c *virtio.Chain) bool {
	if c.ReadableLen < headerSize || c.WritableLen < 1 {
		return false
	}
	guestmem.CopyIn(r.header[:], c.Readable)
	// Little-endian: virtio 1.0 says so, and a legacy guest is as little-endian as the hosts that vublk is for.
	r.kind = RequestType(binary.LittleEndian.Uint32(r.header[0:]))
	r.sector = binary.LittleEndian.Uint64(r.header[8:])
	r.readable = guestmem.Advance(c.Readable, headerSize)
	r.readableLen = c.ReadableLen - headerSize

	last := &c.Writable[len(c.Writable)-1]
	last.Len--
	r.status = guestmem.Iovec{Base: last.Base + last.Len, Len: 1}
	r.writable = c.Writable
	if last.Len == 0 {
		r.writable = c.Writable[:len(c.Writable)-1]
	}
	r.writableLen = c.WritableLen - 1
	return true
}
