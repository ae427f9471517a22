package vhostuser

import (
	"encoding/binary"

	"github.com/vublk/vublk/virtio/guestmem"
)

// The payloads and their sizes. A decoder may rely on the size that the dispatch table demands.
const (
	u64Size          = 8
	vringStateSize   = 8
	vringAddrSize    = 40
	regionSize       = 32
	memTableHeadSize = 8
	memTableMaxSize  = memTableHeadSize + maxFDs*regionSize
	memRegSize       = 8 + regionSize
	logBaseSize      = 16
	configHeadSize   = 12
	configMaxSize    = 256 // VHOST_USER_MAX_CONFIG_SIZE
)

// u64 is the payload of the feature messages, of SET_VRING_KICK and its kind, and of an ack.
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func appendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

// vringState is a ring's index and one number: size, base, or enable.
type vringState struct {
	index uint32
	num   uint32
}

func decodeVringState(b []byte) vringState {
	return vringState{index: binary.NativeEndian.Uint32(b), num: binary.NativeEndian.Uint32(b[4:])}
}

func (v vringState) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, v.index)
	return binary.NativeEndian.AppendUint32(b, v.num)
}

// vringAddr is the payload of SET_VRING_ADDR, in its order: descriptors, used (device), available (driver).
type vringAddr struct {
	index  uint32
	flags  uint32
	desc   guestmem.FrontendVA
	device guestmem.FrontendVA
	driver guestmem.FrontendVA
	log    guestmem.GPA
}

func decodeVringAddr(b []byte) vringAddr {
	return vringAddr{
		index:  binary.NativeEndian.Uint32(b),
		flags:  binary.NativeEndian.Uint32(b[4:]),
		desc:   guestmem.FrontendVA(u64(b[8:])),
		device: guestmem.FrontendVA(u64(b[16:])),
		driver: guestmem.FrontendVA(u64(b[24:])),
		log:    guestmem.GPA(u64(b[32:])),
	}
}

// vringFile is the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR.
type vringFile struct {
	index uint64 // of the ring; 8 bits when the front-end is sane
	noFD  bool   // no descriptor: poll the ring, do not notify
}

// vringNoFD is bit 8 of the payload; bits 0-7 are the index.
const vringNoFD = 1 << 8

func decodeVringFile(b []byte) vringFile {
	v := u64(b)
	return vringFile{index: v &^ vringNoFD, noFD: v&vringNoFD != 0}
}

func decodeRegion(b []byte) guestmem.RegionInfo {
	return guestmem.RegionInfo{
		GPA:      guestmem.GPA(u64(b)),
		Size:     u64(b[8:]),
		UserAddr: guestmem.FrontendVA(u64(b[16:])),
		Offset:   u64(b[24:]),
	}
}

// decodeMemTable takes SET_MEM_TABLE apart; false when the size does not fit the number of regions.
func decodeMemTable(b []byte) ([]guestmem.RegionInfo, bool) {
	n := binary.NativeEndian.Uint32(b)
	if n > maxFDs || len(b) != memTableHeadSize+int(n)*regionSize {
		return nil, false
	}
	regions := make([]guestmem.RegionInfo, n)
	for i := range regions {
		regions[i] = decodeRegion(b[memTableHeadSize+i*regionSize:])
	}
	return regions, true
}

// logBase is the payload of SET_LOG_BASE with LOG_SHMFD: where in its file the log is, in bytes.
type logBase struct {
	size   uint64
	offset uint64
}

func decodeLogBase(b []byte) logBase { return logBase{size: u64(b), offset: u64(b[8:])} }

// configAccess is the payload of GET_CONFIG and SET_CONFIG.
type configAccess struct {
	offset uint32
	size   uint32
	flags  uint32
	data   []byte
}

// decodeConfig takes a configuration message apart; false when its numbers contradict each other or the limit. Some
// front-ends leave the bytes of a GET_CONFIG out.
func decodeConfig(b []byte) (configAccess, bool) {
	c := configAccess{
		offset: binary.NativeEndian.Uint32(b),
		size:   binary.NativeEndian.Uint32(b[4:]),
		flags:  binary.NativeEndian.Uint32(b[8:]),
		data:   b[configHeadSize:],
	}
	return c, c.size <= configMaxSize && (len(c.data) == 0 || len(c.data) == int(c.size))
}

func (c configAccess) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, c.offset)
	b = binary.NativeEndian.AppendUint32(b, c.size)
	b = binary.NativeEndian.AppendUint32(b, c.flags)
	return append(b, c.data...)
}
