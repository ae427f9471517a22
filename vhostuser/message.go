package vhostuser

import (
	"encoding/binary"

	"github.com/vublk/vublk/internal/sys"
)

// Sizes of a message (vhost-user, "Message specification").
const (
	headerSize = 12
	// maxPayload is the largest payload that the specification knows, that of GET_SHMEM_CONFIG.
	maxPayload = 8 + 256*8
	// maxFDs is the largest number of descriptors of one message: the regions of SET_MEM_TABLE.
	maxFDs = 8
)

// Flags of a message.
const (
	flagVersionMask uint32 = 0x3
	flagVersion     uint32 = 0x1
	flagReply       uint32 = 0x4
	flagNeedReply   uint32 = 0x8
)

// header starts every message, in the byte order of the host.
type header struct {
	request Request
	flags   uint32
	size    uint32 // of the payload
}

func decodeHeader(b *[headerSize]byte) header {
	return header{
		request: Request(binary.NativeEndian.Uint32(b[0:])),
		flags:   binary.NativeEndian.Uint32(b[4:]),
		size:    binary.NativeEndian.Uint32(b[8:]),
	}
}

func (h header) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(h.request))
	b = binary.NativeEndian.AppendUint32(b, h.flags)
	return binary.NativeEndian.AppendUint32(b, h.size)
}

// fault names what is wrong with the header of a message from a front-end so that the stream cannot be followed any
// longer, "" when nothing.
func (h header) fault() string {
	switch {
	case h.flags&flagVersionMask != flagVersion:
		return "wrong protocol version"
	case h.flags&flagReply != 0:
		return "a reply where a request was due"
	case h.size > maxPayload:
		return "payload larger than any message's"
	default:
		return ""
	}
}

// message is one message as received. The payload lives in the connection's buffer, until the next one is received.
type message struct {
	header
	payload   []byte
	fds       []*sys.FD
	truncated bool // the kernel dropped descriptors: too many, or our table of descriptors is full
}

func (m *message) needReply() bool { return m.flags&flagNeedReply != 0 }

// takeFD gives descriptor i away; the dispatcher closes those that nobody took.
func (m *message) takeFD(i int) *sys.FD {
	f := m.fds[i]
	m.fds[i] = nil
	return f
}

// closeFDs closes the descriptors that are left. The error of a close(2) tells nothing about somebody else's file that
// we could act on.
func (m *message) closeFDs() {
	for _, f := range m.fds {
		_ = f.Close()
	}
	m.fds = m.fds[:0]
}
