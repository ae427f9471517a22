package vhostuser

import (
	"fmt"
	"strings"

	"github.com/vublk/vublk/virtio"
)

// ProtocolFeatures is a set of vhost-user protocol features (vhost-user, "Protocol features"): bit n is 1<<n.
type ProtocolFeatures uint64

// The protocol features that this package knows by name, offered or not.
const (
	ProtocolMQ                ProtocolFeatures = 1 << 0  // VHOST_USER_PROTOCOL_F_MQ
	ProtocolLogShmfd          ProtocolFeatures = 1 << 1  // VHOST_USER_PROTOCOL_F_LOG_SHMFD
	ProtocolReplyAck          ProtocolFeatures = 1 << 3  // VHOST_USER_PROTOCOL_F_REPLY_ACK
	ProtocolBackendReq        ProtocolFeatures = 1 << 5  // VHOST_USER_PROTOCOL_F_BACKEND_REQ
	ProtocolPagefault         ProtocolFeatures = 1 << 8  // VHOST_USER_PROTOCOL_F_PAGEFAULT
	ProtocolConfig            ProtocolFeatures = 1 << 9  // VHOST_USER_PROTOCOL_F_CONFIG
	ProtocolInflightShmfd     ProtocolFeatures = 1 << 12 // VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD
	ProtocolResetDevice       ProtocolFeatures = 1 << 13 // VHOST_USER_PROTOCOL_F_RESET_DEVICE
	ProtocolConfigureMemSlots ProtocolFeatures = 1 << 15 // VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS
	ProtocolStatus            ProtocolFeatures = 1 << 16 // VHOST_USER_PROTOCOL_F_STATUS
	ProtocolSharedObject      ProtocolFeatures = 1 << 18 // VHOST_USER_PROTOCOL_F_SHARED_OBJECT
	ProtocolDeviceState       ProtocolFeatures = 1 << 19 // VHOST_USER_PROTOCOL_F_DEVICE_STATE
	ProtocolShmemMap          ProtocolFeatures = 1 << 22 // VHOST_USER_PROTOCOL_F_SHMEM
)

// offered is what GET_PROTOCOL_FEATURES answers. STATUS is left out on purpose: QEMU then sends SET_STATUS(0) at every
// pause, which reads like a device reset and is none. XEN_MMAP would change the layout of a memory region, and QEMU
// accepts it when offered.
const offered = ProtocolMQ | ProtocolLogShmfd | ProtocolReplyAck | ProtocolBackendReq | ProtocolConfig |
	ProtocolInflightShmfd | ProtocolResetDevice | ProtocolConfigureMemSlots

// Virtio feature bits that belong to the transport and never reach a Device.
const (
	featureLogAll           uint64 = 1 << 26 // VHOST_F_LOG_ALL
	featureProtocolFeatures uint64 = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES

	transportFeatures = featureLogAll | featureProtocolFeatures
)

// refusedFeatures cannot be acked unless they were offered: they would have us read and write memory otherwise than we
// do, which ends in another's data. ACCESS_PLATFORM changes what an address is; an IN_ORDER driver takes one used element
// for many; RING_RESET takes a ring back without a message to us.
const refusedFeatures = uint64(virtio.FeatureAccessPlatform | virtio.FeatureInOrder | virtio.FeatureRingReset)

var protocolFeatureNames = map[ProtocolFeatures]string{
	ProtocolMQ: "MQ", ProtocolLogShmfd: "LOG_SHMFD", ProtocolReplyAck: "REPLY_ACK",
	ProtocolBackendReq: "BACKEND_REQ", ProtocolPagefault: "PAGEFAULT", ProtocolConfig: "CONFIG",
	ProtocolInflightShmfd: "INFLIGHT_SHMFD", ProtocolResetDevice: "RESET_DEVICE",
	ProtocolConfigureMemSlots: "CONFIGURE_MEM_SLOTS", ProtocolStatus: "STATUS",
	ProtocolSharedObject: "SHARED_OBJECT", ProtocolDeviceState: "DEVICE_STATE", ProtocolShmemMap: "SHMEM",
}

// Has tells whether all features of x are in p.
func (p ProtocolFeatures) Has(x ProtocolFeatures) bool { return p&x == x }

// String lists the names, "MQ|CONFIG", with numbers for the nameless.
func (p ProtocolFeatures) String() string {
	if p == 0 {
		return "none"
	}
	var names []string
	for bit := ProtocolFeatures(1); bit != 0; bit <<= 1 {
		if p&bit == 0 {
			continue
		}
		name := protocolFeatureNames[bit]
		if name == "" {
			name = fmt.Sprintf("%#x", uint64(bit))
		}
		names = append(names, name)
	}
	return strings.Join(names, "|")
}
