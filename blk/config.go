package blk

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"

	"github.com/pkg/errors"
)

// configSize is the size of struct virtio_blk_config (virtio-v1.3 5.2.4); what lies behind reads as zeros.
const configSize = 96

// Offsets of its fields, in bytes.
const (
	configCapacity          = 0
	configSegMax            = 12
	configCylinders         = 16
	configHeads             = 18
	configSectors           = 19
	configBlkSize           = 20
	configPhysicalExp       = 24
	configMinIO             = 26
	configWriteback         = 32
	configNumQueues         = 34
	configMaxDiscard        = 36
	configMaxDiscardSeg     = 40
	configDiscardAlign      = 44
	configMaxWriteZeroes    = 48
	configMaxWriteZeroesSeg = 52
	configMayUnmap          = 56
)

const (
	// defaultSegMax fits a ring of 128 entries, QEMU's default, with a header and a status. Drivers read it before the
	// size of the ring is known.
	defaultSegMax = 126
	// maxDiscardSectors is what one segment of a discard or write-zeroes request may cover: 2 GiB.
	maxDiscardSectors = 1 << 22
)

// The geometry that QEMU, too, invents for disks that have none.
const (
	geometryHeads   = 16
	geometrySectors = 63
)

// ReadConfig fills b from offset off of the device's configuration space on; behind its end are zeros.
func (d *Device) ReadConfig(b []byte, off uint32) {
	var c [configSize]byte
	d.fillConfig(&c)
	clear(b)
	if off < configSize {
		copy(b, c[off:])
	}
}

func (d *Device) fillConfig(c *[configSize]byte) {
	le := binary.LittleEndian
	capacity := d.capacity.Load()
	le.PutUint64(c[configCapacity:], capacity)
	le.PutUint32(c[configSegMax:], d.opt.SegMax)
	le.PutUint16(c[configCylinders:], uint16(min(capacity/(geometryHeads*geometrySectors), 65535)))
	c[configHeads], c[configSectors] = geometryHeads, geometrySectors
	le.PutUint32(c[configBlkSize:], d.opt.LogicalBlockSize)
	ratio := d.opt.PhysicalBlockSize / d.opt.LogicalBlockSize
	c[configPhysicalExp] = byte(bits.TrailingZeros32(ratio))
	le.PutUint16(c[configMinIO:], uint16(ratio))
	if acked := d.acked(); d.writeback.Load() && (acked.Has(FeatureFlush) || !acked.Has(FeatureConfigWCE)) {
		c[configWriteback] = 1 // virtio-v1.3 5.2.5.2: 0 without FLUSH
	}
	le.PutUint16(c[configNumQueues:], uint16(d.opt.NumQueues))
	if d.offered.Has(FeatureDiscard) {
		le.PutUint32(c[configMaxDiscard:], maxDiscardSectors)
		le.PutUint32(c[configMaxDiscardSeg:], d.opt.MaxDiscardSegs)
		le.PutUint32(c[configDiscardAlign:], max(d.disk.Info().DiscardGranularity/SectorSize, d.opt.LogicalBlockSize/SectorSize))
		c[configMayUnmap] = 1
	}
	if d.offered.Has(FeatureWriteZeroes) {
		le.PutUint32(c[configMaxWriteZeroes:], maxDiscardSectors)
		le.PutUint32(c[configMaxWriteZeroesSeg:], d.opt.MaxDiscardSegs)
	}
}

// WriteConfig takes what the driver writes into the configuration space: its choice between write-back and
// write-through, if that was offered, and nothing else. Leaving write-back makes the earlier writes stable. An error refuses the write and changes nothing.
func (d *Device) WriteConfig(b []byte, off uint32) error {
	if off != configWriteback || len(b) != 1 {
		return errors.Errorf("the driver writes %d bytes at offset %d of the configuration space: only writeback (offset %d, 1 byte) is writable", len(b), off, configWriteback)
	}
	if !d.acked().Has(FeatureConfigWCE) {
		return errors.New("the driver writes writeback without having negotiated CONFIG_WCE")
	}
	old := d.writeback.Swap(b[0] != 0)
	d.decideDurability()
	if b[0] == 0 {
		if err := d.Flush(); err != nil {
			d.writeback.Store(old)
			d.decideDurability()
			return err
		}
	}
	d.writebackKnown.Store(true)
	d.remember()
	return nil
}

// defaultSerial derives a serial that stays the same over restarts from the device's name.
func defaultSerial(name string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return fmt.Sprintf("vublk%015x", h.Sum64()&(1<<60-1))
}
