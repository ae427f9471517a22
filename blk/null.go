package blk

import (
	"fmt"

	"github.com/vublk/vublk/virtio/guestmem"
)

// Null is a Disk of a given size that keeps nothing: reads leave guest memory as it is. For measurements.
type Null struct{ size int64 }

// NewNull makes a Null of size bytes.
func NewNull(size int64) *Null { return &Null{size: size} }

// Info implements Disk.
func (n *Null) Info() DiskInfo {
	return DiskInfo{Name: fmt.Sprintf("null:%d", n.size), Size: n.size, OffsetAlign: 1, MemAlign: 1, DiscardGranularity: SectorSize}
}

// Close implements Disk.
func (n *Null) Close() error { return nil }

// Read implements InlineDisk.
func (n *Null) Read([]guestmem.Iovec, int64) {}

// Write implements InlineDisk.
func (n *Null) Write([]guestmem.Iovec, int64) {}

// Zero implements InlineDisk.
func (n *Null) Zero(int64, int64, bool) {}
