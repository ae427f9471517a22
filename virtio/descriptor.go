package virtio

// descriptor is a private copy of 16 bytes of a descriptor table or ring: an address, and one word with the rest.
//
//	split  (virtio-v1.3 2.7.5): le64 addr, le32 len, le16 flags, le16 next
//	packed (virtio-v1.3 2.8.2): le64 addr, le32 len, le16 id,    le16 flags
//
// Kept as two words because that is how it is loaded, and shifting a register is cheaper than storing fields.
// Both architectures we build for are little-endian, like rings are (legacy ones: like the guest).
type descriptor struct {
	addr, word uint64
}

const descriptorSize = 16

// Flags of a descriptor. In packed rings availability is two bits more, see packed.go.
const (
	descNext     = 1 << 0 // VIRTQ_DESC_F_NEXT
	descWrite    = 1 << 1 // VIRTQ_DESC_F_WRITE
	descIndirect = 1 << 2 // VIRTQ_DESC_F_INDIRECT
)

func (d descriptor) length() uint32      { return uint32(d.word) }
func (d descriptor) splitFlags() uint16  { return uint16(d.word >> 32) }
func (d descriptor) splitNext() uint16   { return uint16(d.word >> 48) }
func (d descriptor) packedID() uint16    { return uint16(d.word >> 32) }
func (d descriptor) packedFlags() uint16 { return uint16(d.word >> 48) }
