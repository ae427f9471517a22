package vhostusertest

import (
	"encoding/binary"

	"github.com/vublk/vublk/virtio/guestmem"
)

// NoFD is bit 8 of the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR.
const NoFD = 1 << 8

// U64 is the payload of the feature messages, of SET_VRING_KICK and its kind, and of an ack.
func U64(v uint64) []byte { return words(v) }

// VringState is the payload of SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE and SET_VRING_ENABLE.
func VringState(index, num uint32) []byte { return words(uint64(num)<<32 | uint64(index)) }

// VringAddr is the payload of SET_VRING_ADDR, without logging.
func VringAddr(index uint32, desc, driver, device guestmem.FrontendVA) []byte {
	return words(uint64(index), uint64(desc), uint64(device), uint64(driver), 0)
}

// VringLogAddr is the same with logging: at is where the guest sees the used ring, or the device event suppression.
func VringLogAddr(index uint32, desc, driver, device guestmem.FrontendVA, at guestmem.GPA) []byte {
	return words(1<<32|uint64(index), uint64(desc), uint64(device), uint64(driver), uint64(at))
}

// LogBase is the payload of SET_LOG_BASE.
func LogBase(size, offset uint64) []byte { return words(size, offset) }

// MemTable is the payload of SET_MEM_TABLE.
func MemTable(regions ...guestmem.RegionInfo) []byte {
	b := words(uint64(len(regions)))
	for _, r := range regions {
		b = append(b, region(r)...)
	}
	return b
}

// MemReg is the payload of ADD_MEM_REG and REM_MEM_REG.
func MemReg(r guestmem.RegionInfo) []byte { return append(words(0), region(r)...) }

func region(r guestmem.RegionInfo) []byte {
	return words(uint64(r.GPA), r.Size, uint64(r.UserAddr), r.Offset)
}

// Config is the payload of GET_CONFIG and SET_CONFIG.
func Config(offset, size, flags uint32, data []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, offset)
	b = binary.NativeEndian.AppendUint32(b, size)
	b = binary.NativeEndian.AppendUint32(b, flags)
	return append(b, data...)
}

// Inflight is the payload of GET_INFLIGHT_FD and SET_INFLIGHT_FD as QEMU sends it, with its padding.
func Inflight(size, offset uint64, queues, queueSize uint16) []byte {
	return words(size, offset, uint64(queues)|uint64(queueSize)<<16)
}

// words appends in little-endian order, which is that of all our machines; VringState relies on it.
func words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
