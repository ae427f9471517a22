package blk

import (
	"unsafe"

	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio/guestmem"
)

// iovecs views a block of the arena as an array of iovecs.
func iovecs(b iouring.Block) []guestmem.Iovec {
	bytes := b.Bytes()
	// Safe because the block is off-heap, page-aligned memory, as long as the slice of whole iovecs, without pointers.
	return unsafe.Slice((*guestmem.Iovec)(unsafe.Pointer(&bytes[0])), len(bytes)/int(unsafe.Sizeof(guestmem.Iovec{})))
}

// iovecSize is sizeof(struct iovec): the kernel reads the arrays that iovecs returns.
const iovecSize = 16

var _ [iovecSize]byte = [unsafe.Sizeof(guestmem.Iovec{})]byte{}
