package blk

import "github.com/vublk/vublk/virtio"

// The device's feature bits (virtio-v1.3 5.2.3).
const (
	FeatureBarrier     virtio.Features = 1 << 0  // VIRTIO_BLK_F_BARRIER, legacy
	FeatureSegMax      virtio.Features = 1 << 2  // VIRTIO_BLK_F_SEG_MAX
	FeatureGeometry    virtio.Features = 1 << 4  // VIRTIO_BLK_F_GEOMETRY
	FeatureRO          virtio.Features = 1 << 5  // VIRTIO_BLK_F_RO
	FeatureBlkSize     virtio.Features = 1 << 6  // VIRTIO_BLK_F_BLK_SIZE
	FeatureFlush       virtio.Features = 1 << 9  // VIRTIO_BLK_F_FLUSH
	FeatureTopology    virtio.Features = 1 << 10 // VIRTIO_BLK_F_TOPOLOGY
	FeatureConfigWCE   virtio.Features = 1 << 11 // VIRTIO_BLK_F_CONFIG_WCE
	FeatureMQ          virtio.Features = 1 << 12 // VIRTIO_BLK_F_MQ
	FeatureDiscard     virtio.Features = 1 << 13 // VIRTIO_BLK_F_DISCARD
	FeatureWriteZeroes virtio.Features = 1 << 14 // VIRTIO_BLK_F_WRITE_ZEROES
)

// offer is the set of features that a device offers. RING_RESET and NOTIFICATION_DATA never are: vhost-user front-ends
// have no message for the one and no room in a kick for the other. IN_ORDER is not: completions come as disks give them.
func offer(o *DeviceOptions, info DiskInfo) virtio.Features {
	f := FeatureBarrier | FeatureSegMax | FeatureGeometry | FeatureBlkSize | FeatureTopology | FeatureMQ |
		virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureRingPacked | virtio.FeatureNotifyOnEmpty
	if offersFlush(o.Cache, info) {
		f |= FeatureFlush
		if o.ConfigWCE {
			f |= FeatureConfigWCE
		}
	}
	if o.ReadOnly {
		return f | FeatureRO
	}
	f |= FeatureWriteZeroes
	if info.DiscardGranularity > 0 {
		f |= FeatureDiscard
	}
	return f
}

func offersFlush(c CacheMode, info DiskInfo) bool {
	return c == CacheWriteback || c == CacheUnsafe || c == CacheAuto && info.VolatileCache
}

// writeThrough tells whether each write must be stable before it completes: decided by what was negotiated
// (virtio-v1.3 5.2.6.2), not by what was offered.
func (d *Device) writeThrough() bool {
	acked := d.acked()
	switch {
	case d.opt.Cache == CacheUnsafe || d.opt.ReadOnly || d.inline != nil:
		return false
	case !d.offered.Has(FeatureFlush):
		return d.opt.Cache == CacheWritethrough // else the Disk has no volatile cache
	case !acked.Has(FeatureFlush):
		return true
	case acked.Has(FeatureConfigWCE):
		return !d.writeback.Load()
	}
	return false
}
