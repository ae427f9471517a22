package virtio

import (
	"fmt"
	"strings"
)

// Features is a set of feature bits (virtio-v1.3 2.2).
type Features uint64

// Feature bits that concern rings, and those that device packages need a name for (virtio-v1.3 6).
const (
	FeatureNotifyOnEmpty    Features = 1 << 24 // VIRTIO_F_NOTIFY_ON_EMPTY (legacy)
	FeatureLogAll           Features = 1 << 26 // VHOST_F_LOG_ALL: between front-end and back-end only
	FeatureAnyLayout        Features = 1 << 27 // VIRTIO_F_ANY_LAYOUT (legacy)
	FeatureIndirectDesc     Features = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx         Features = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatureProtocolFeatures Features = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES: between front-end and back-end only
	FeatureVersion1         Features = 1 << 32 // VIRTIO_F_VERSION_1
	FeatureAccessPlatform   Features = 1 << 33 // VIRTIO_F_ACCESS_PLATFORM
	FeatureRingPacked       Features = 1 << 34 // VIRTIO_F_RING_PACKED
	FeatureInOrder          Features = 1 << 35 // VIRTIO_F_IN_ORDER
	FeatureOrderPlatform    Features = 1 << 36 // VIRTIO_F_ORDER_PLATFORM
	FeatureSRIOV            Features = 1 << 37 // VIRTIO_F_SR_IOV
	FeatureNotificationData Features = 1 << 38 // VIRTIO_F_NOTIFICATION_DATA
	FeatureNotifConfigData  Features = 1 << 39 // VIRTIO_F_NOTIF_CONFIG_DATA
	FeatureRingReset        Features = 1 << 40 // VIRTIO_F_RING_RESET
	FeatureAdminVirtqueue   Features = 1 << 41 // VIRTIO_F_ADMIN_VQ
)

// firstNamed is the bit that featureNames begins with.
const firstNamed = 24

var featureNames = [...]string{
	"NOTIFY_ON_EMPTY", "", "LOG_ALL", "ANY_LAYOUT", "INDIRECT_DESC", "EVENT_IDX", "PROTOCOL_FEATURES", "",
	"VERSION_1", "ACCESS_PLATFORM", "RING_PACKED", "IN_ORDER", "ORDER_PLATFORM", "SR_IOV", "NOTIFICATION_DATA",
	"NOTIF_CONFIG_DATA", "RING_RESET", "ADMIN_VQ",
}

// Has tells whether all bits of x are in f.
func (f Features) Has(x Features) bool { return f&x == x }

// String names the ring's bits and shows what is left, a device type's own bits for instance, as a number.
func (f Features) String() string {
	var parts []string
	rest := f
	for i, name := range featureNames {
		if bit := Features(1) << (firstNamed + i); name != "" && f.Has(bit) {
			parts = append(parts, name)
			rest &^= bit
		}
	}
	if rest != 0 || f == 0 {
		parts = append(parts, fmt.Sprintf("%#x", uint64(rest)))
	}
	return strings.Join(parts, "|")
}
