package vhostuser

import (
	"encoding/binary"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// MemoSize is how many bytes a device may keep beside the in-flight records, see Device.SetMemo.
const MemoSize = 64

// inflightBuffer is the memory of the rings' in-flight records (vhost-user, "Inflight I/O tracking"): one record behind
// the other, the device's memo at the end. The front-end keeps it while we are dead; for front-ends that do not, the
// session has one of its own, which a holder may keep.
type inflightBuffer struct {
	fd        *sys.FD // nil: none
	offset    uint64
	size      uint64
	queues    uint16
	queueSize uint16
	memo      bool // the device has the memo of this buffer
}

// inflightPayload is the payload of GET_INFLIGHT_FD and SET_INFLIGHT_FD. QEMU's has 4 bytes of padding behind it and
// wants them back.
type inflightPayload struct {
	size, offset      uint64
	queues, queueSize uint16
}

const (
	inflightSize    = 20
	inflightMaxSize = 24
)

func decodeInflight(b []byte) inflightPayload {
	return inflightPayload{
		size: u64(b), offset: u64(b[8:]),
		queues: binary.NativeEndian.Uint16(b[16:]), queueSize: binary.NativeEndian.Uint16(b[18:]),
	}
}

func (p inflightPayload) append(b []byte) []byte {
	b = appendU64(b, p.size)
	b = appendU64(b, p.offset)
	b = binary.NativeEndian.AppendUint16(b, p.queues)
	return binary.NativeEndian.AppendUint16(b, p.queueSize)
}

// records is where the records end and the memo begins.
func (p inflightPayload) records(f virtio.Features) uint64 {
	return uint64(p.queues) * virtio.InflightStride(f, uint32(p.queueSize))
}

func (p inflightPayload) check() error {
	if p.queues == 0 || p.queues > MaxQueues || p.queueSize == 0 || p.queueSize > virtio.MaxSize {
		return errors.Errorf("in-flight buffer for %d queues of %d", p.queues, p.queueSize)
	}
	return nil
}

// getInflightFD makes a buffer for the front-end, which hands it back by SET_INFLIGHT_FD.
func (s *Session) getInflightFD(m *message) ([]byte, error) {
	p := decodeInflight(m.payload)
	if err := p.check(); err != nil {
		return nil, err
	}
	p.size, p.offset = p.records(virtio.Features(s.features))+MemoSize, 0
	fd, err := newInflightFile(p.size)
	if err != nil {
		return nil, err
	}
	s.replyFD = fd
	body := p.append(s.scratch[:0])
	for len(body) < int(m.size) { // its padding
		body = append(body, 0)
	}
	return body, nil
}

// newInflightFile makes memory that cannot shrink under its users.
func newInflightFile(size uint64) (*sys.FD, error) {
	fd, err := sys.Memfd("vublk-inflight", int64(size))
	if err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_ADD_SEALS, seals); err != nil {
		_ = fd.Close()
		return nil, errors.Wrap(err, "seal the in-flight buffer")
	}
	return fd, nil
}

// setInflightFD takes the buffer that the rings are to use when they start. Its contents are judged then.
func (s *Session) setInflightFD(m *message) ([]byte, error) {
	p := decodeInflight(m.payload)
	if err := p.check(); err != nil {
		return nil, err
	}
	if need := p.records(virtio.Features(s.features)); p.size < need || p.size > guestmem.MaxMapping || p.offset > guestmem.MaxMapping || p.offset%8 != 0 {
		return nil, errors.Errorf("in-flight buffer of %#x bytes at offset %#x: %d queues of %d take %#x", p.size, p.offset, p.queues, p.queueSize, need)
	}
	s.useInflight(inflightBuffer{
		fd: m.takeFD(0), offset: p.offset, size: p.size, queues: p.queues, queueSize: p.queueSize,
	})
	return nil, nil
}

// useInflight replaces the front-end's buffer, and with it the memo.
func (s *Session) useInflight(b inflightBuffer) {
	s.inflight.set(b)
	s.private.memo = false
}

func (b *inflightBuffer) set(next inflightBuffer) {
	_ = b.fd.Close()
	*b = next
}

// record says where the record of ring i is. A ring that the front-end has no room for has it in memory of our own.
func (s *Session) record(i int, features virtio.Features, num uint32) (virtio.InflightConfig, error) {
	if b := &s.inflight; b.fd != nil && i < int(b.queues) && num <= uint32(b.queueSize) {
		return virtio.InflightConfig{
			FD: b.fd.Int(), Entries: uint32(b.queueSize),
			Offset: b.offset + uint64(i)*virtio.InflightStride(features, uint32(b.queueSize)),
		}, nil
	}
	b := &s.private
	stride := virtio.InflightStride(virtio.FeatureRingPacked, virtio.MaxSize)
	if b.fd == nil {
		size := uint64(s.opts.Queues)*stride + MemoSize // sparse: only what rings use is ever there
		fd, err := newInflightFile(size)
		if err != nil {
			return virtio.InflightConfig{}, err
		}
		b.set(inflightBuffer{fd: fd, size: size})
	}
	return virtio.InflightConfig{FD: b.fd.Int(), Entries: num, Offset: uint64(i) * stride}, nil
}

// forget makes a record in our own memory fresh: the front-end says where the ring begins, and nothing is in flight.
func (s *Session) forget(at virtio.InflightConfig) error {
	if at.FD != s.private.fd.Int() {
		return nil
	}
	_, err := unix.Pwrite(at.FD, make([]byte, virtio.InflightStride(virtio.FeatureRingPacked, 0)), int64(at.Offset))
	return errors.Wrap(err, "clear an in-flight record")
}

// shareMemo gives the device the memo of the buffer in use, once for each.
func (s *Session) shareMemo() error {
	b := &s.inflight
	if b.fd == nil {
		b = &s.private
	}
	if b.memo {
		return nil
	}
	b.memo = true
	at := b.offset + b.size - MemoSize
	if room := b.size - (inflightPayload{queues: b.queues, queueSize: b.queueSize}).records(virtio.Features(s.features)); room < MemoSize || at%8 != 0 {
		return s.dev.SetMemo(nil) // a buffer that another back-end has made
	}
	m, err := guestmem.Map(b.fd.Int(), guestmem.RegionInfo{Offset: at, Size: MemoSize})
	if err != nil {
		return errors.Wrap(err, "in-flight buffer")
	}
	return s.dev.SetMemo(m)
}
