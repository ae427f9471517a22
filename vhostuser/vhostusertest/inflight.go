package vhostusertest

import (
	"encoding/binary"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// inflight is the buffer that a back-end has made and that we keep while it is dead.
type inflight struct {
	fd     *sys.FD // nil: not asked for
	size   uint64
	offset uint64
}

func (b *inflight) drop() error {
	err := b.fd.Close()
	*b = inflight{}
	return err
}

// shareInflight does what QEMU does before it starts rings: it asks for a buffer when it has none, and hands it out.
func (f *Frontend) shareInflight() error {
	if !f.protocol.Has(vhostuser.ProtocolInflightShmfd) {
		return nil
	}
	queues, size := uint16(len(f.queues)), uint16(f.options.QueueSize)
	if f.inflight.fd == nil {
		if err := f.askInflight(queues, size); err != nil {
			return err
		}
	}
	b := &f.inflight
	return f.Set(vhostuser.RequestSetInflightFD, Inflight(b.size, b.offset, queues, size), b.fd.Int())
}

func (f *Frontend) askInflight(queues, size uint16) error {
	m, err := f.Get(vhostuser.RequestGetInflightFD, Inflight(0, 0, queues, size))
	if err != nil {
		return err
	}
	for _, fd := range m.FDs[min(1, len(m.FDs)):] {
		_ = unix.Close(fd)
	}
	if len(m.Payload) != 24 || len(m.FDs) != 1 {
		return errors.Errorf("in-flight buffer: the back-end answers % x with %d descriptors", m.Payload, len(m.FDs))
	}
	f.inflight = inflight{
		fd: sys.NewFD(m.FDs[0]), size: binary.NativeEndian.Uint64(m.Payload), offset: binary.NativeEndian.Uint64(m.Payload[8:]),
	}
	return nil
}

// InflightFD returns the in-flight buffer, -1 when there is none. It stays the front-end's.
func (f *Frontend) InflightFD() int { return f.inflight.fd.Int() }
