package vhostusertest

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Options of a Frontend. The zero value is one split queue of 128 and everything that the back-end offers.
type Options struct {
	Queues    int    // 0: 1
	QueueSize uint32 // 0: 128
	Packed    bool   // packed rings; an error when the back-end does not offer them
	// Decline is what is not accepted although it is offered and known here.
	Decline         virtio.Features
	DeclineProtocol vhostuser.ProtocolFeatures
	// Memory of the guest; nil: virtiotest.RAM of 64 MiB.
	Memory []guestmem.RegionInfo
	// TableLen is for virtiotest.Options.
	TableLen int
}

// What a Frontend can live with. The bits below 24 are the device's.
const (
	deviceFeatures = virtio.Features(1<<24 - 1)
	ringFeatures   = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1

	protocolFeaturesBit = virtio.Features(1 << 30) // VHOST_USER_F_PROTOCOL_FEATURES

	knownProtocol = vhostuser.ProtocolMQ | vhostuser.ProtocolReplyAck | vhostuser.ProtocolBackendReq |
		vhostuser.ProtocolConfig | vhostuser.ProtocolInflightShmfd | vhostuser.ProtocolResetDevice |
		vhostuser.ProtocolConfigureMemSlots | vhostuser.ProtocolLogShmfd
)

// Frontend is a front-end with a guest's memory and queues. They outlive the connection, as a guest outlives its
// back-end: see Disconnect and Reconnect.
type Frontend struct {
	*Conn

	options  Options
	features virtio.Features
	protocol vhostuser.ProtocolFeatures
	memory   *virtiotest.Memory
	queues   []*queue
	channel  *sys.FD // our end of SET_BACKEND_REQ_FD, nil when not negotiated
	inflight inflight
	log      *virtiotest.Log
	logging  bool
}

// queue is a driver and where its device will begin.
type queue struct {
	driver  *virtiotest.Driver
	base    uint32
	started bool
}

// Connect dials a back-end and negotiates. Start comes next.
func Connect(path string, o Options) (*Frontend, error) {
	c, err := Dial(path)
	if err != nil {
		return nil, err
	}
	return New(c, o)
}

// New takes c, negotiates, and makes the guest's memory and its queues.
func New(c *Conn, o Options) (*Frontend, error) {
	if o.Queues == 0 {
		o.Queues = 1
	}
	if o.QueueSize == 0 {
		o.QueueSize = 128
	}
	if o.Memory == nil {
		o.Memory = []guestmem.RegionInfo{virtiotest.RAM(64 << 20)}
	}
	f := &Frontend{Conn: c, options: o}
	err := f.negotiate()
	if err == nil {
		err = f.makeGuest()
	}
	if err == nil {
		err = f.share()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Close ends the connection and frees the guest.
func (f *Frontend) Close() error {
	err := f.Disconnect()
	for _, q := range f.queues {
		if e := q.driver.Close(); err == nil {
			err = e
		}
	}
	f.queues = nil
	if e := f.inflight.drop(); err == nil {
		err = e
	}
	if f.log != nil {
		if e := f.log.Close(); err == nil {
			err = e
		}
		f.log = nil
	}
	if f.memory != nil {
		if e := f.memory.Close(); err == nil {
			err = e
		}
		f.memory = nil
	}
	return err
}

// Disconnect ends the connection without a word, as a crash does. The guest stays.
func (f *Frontend) Disconnect() error {
	err := f.channel.Close()
	f.channel = nil
	if f.Conn != nil {
		if e := f.Conn.Close(); err == nil {
			err = e
		}
		f.Conn = nil
	}
	for _, q := range f.queues {
		q.started = false
	}
	return err
}

// Reconnect takes a new connection after Disconnect and shares the guest's memory again. Queues are as they were.
func (f *Frontend) Reconnect(c *Conn) error {
	f.Conn = c
	had := f.features
	if err := f.negotiate(); err != nil {
		return err
	}
	if f.features != had {
		return errors.Errorf("the back-end came back with features %#x instead of %#x", uint64(f.features), uint64(had))
	}
	return f.share()
}

// Features returns the virtio features that were negotiated, without those of the transport.
func (f *Frontend) Features() virtio.Features { return f.features }

// Protocol returns the protocol features that were negotiated.
func (f *Frontend) Protocol() vhostuser.ProtocolFeatures { return f.protocol }

// Memory returns the guest's memory.
func (f *Frontend) Memory() *virtiotest.Memory { return f.memory }

// Queue returns the driver of queue i.
func (f *Frontend) Queue(i int) *virtiotest.Driver { return f.queues[i].driver }

// negotiate is what QEMU sends when it connects.
func (f *Frontend) negotiate() error {
	offered, err := f.GetU64(vhostuser.RequestGetFeatures)
	if err != nil {
		return err
	}
	accept := deviceFeatures | ringFeatures
	if f.options.Packed {
		accept |= virtio.FeatureRingPacked
	}
	f.features = virtio.Features(offered) & accept &^ f.options.Decline
	if f.options.Packed && !f.features.Has(virtio.FeatureRingPacked) {
		return errors.Errorf("the back-end's features %#x are without packed rings", offered)
	}
	if virtio.Features(offered).Has(protocolFeaturesBit) {
		if err := f.negotiateProtocol(); err != nil {
			return err
		}
	}
	if err := f.Set(vhostuser.RequestSetOwner, nil); err != nil {
		return err
	}
	return f.sendFeatures()
}

func (f *Frontend) negotiateProtocol() error {
	offered, err := f.GetU64(vhostuser.RequestGetProtocolFeatures)
	if err != nil {
		return err
	}
	f.protocol = vhostuser.ProtocolFeatures(offered) & knownProtocol &^ f.options.DeclineProtocol
	if err := f.Set(vhostuser.RequestSetProtocolFeatures, U64(uint64(f.protocol))); err != nil {
		return err
	}
	if f.protocol.Has(vhostuser.ProtocolMQ) {
		n, err := f.GetU64(vhostuser.RequestGetQueueNum)
		if err != nil {
			return err
		}
		if uint64(f.options.Queues) > n {
			return errors.Errorf("%d queues wanted, the back-end has %d", f.options.Queues, n)
		}
	}
	if f.protocol.Has(vhostuser.ProtocolBackendReq) {
		return f.openChannel()
	}
	return nil
}

// sendFeatures tells the back-end what was accepted; bit 30 keeps the rings disabled until SET_VRING_ENABLE.
func (f *Frontend) sendFeatures() error {
	v := uint64(f.features)
	if f.protocol != 0 {
		v |= uint64(protocolFeaturesBit)
	}
	if f.logging {
		v |= uint64(virtio.FeatureLogAll)
	}
	return f.Set(vhostuser.RequestSetFeatures, U64(v))
}

func (f *Frontend) makeGuest() error {
	m, err := virtiotest.NewMemory(f.options.Memory...)
	if err != nil {
		return err
	}
	f.memory = m
	for i := range f.options.Queues {
		d, err := virtiotest.NewDriver(m, virtiotest.Options{
			Index: i, Size: f.options.QueueSize, Features: f.features, TableLen: f.options.TableLen,
		})
		if err != nil {
			return err
		}
		f.queues = append(f.queues, &queue{driver: d, base: uint32(d.Base())})
	}
	return nil
}

// share gives the back-end the guest's memory.
func (f *Frontend) share() error {
	regions := f.memory.Regions()
	if f.protocol.Has(vhostuser.ProtocolConfigureMemSlots) {
		for i, r := range regions {
			if err := f.AddMemory(r, f.memory.FD(i)); err != nil {
				return err
			}
		}
		return nil
	}
	var fds []int
	for i := range regions {
		fds = append(fds, f.memory.FD(i))
	}
	return f.apply(vhostuser.RequestSetMemTable, MemTable(regions...), fds...)
}

// AddMemory plugs a region of memory of the caller's; RemoveMemory takes it out again.
func (f *Frontend) AddMemory(r guestmem.RegionInfo, fd int) error {
	return f.apply(vhostuser.RequestAddMemReg, MemReg(r), fd)
}

// RemoveMemory is the end of AddMemory.
func (f *Frontend) RemoveMemory(r guestmem.RegionInfo) error {
	return f.apply(vhostuser.RequestRemMemReg, MemReg(r))
}

// apply sends a message and knows when it returns that it is in force: by its ack, or by the answer to a later request.
func (f *Frontend) apply(r vhostuser.Request, payload []byte, fds ...int) error {
	if !f.protocol.Has(vhostuser.ProtocolReplyAck) {
		if err := f.Set(r, payload, fds...); err != nil {
			return err
		}
		_, err := f.GetU64(vhostuser.RequestGetFeatures)
		return errors.Wrapf(err, "wait until %v is done", r)
	}
	switch v, err := f.Ack(r, payload, fds...); {
	case err != nil:
		return err
	case v != 0:
		return errors.Errorf("%v: the back-end refuses", r)
	}
	return nil
}

// Config reads n bytes of the device's configuration space.
func (f *Frontend) Config(off, n uint32) ([]byte, error) {
	m, err := f.Get(vhostuser.RequestGetConfig, Config(off, n, 0, make([]byte, n)))
	if err != nil {
		return nil, err
	}
	b := m.Payload
	if len(b) != int(12+n) || binary.NativeEndian.Uint32(b) != off || binary.NativeEndian.Uint32(b[4:]) != n {
		return nil, errors.Errorf("configuration of %d bytes at %d: the back-end answers % x", n, off, b)
	}
	return b[12:], nil
}

// SetConfig writes to the configuration space as a driver does.
func (f *Frontend) SetConfig(off uint32, b []byte) error {
	return f.apply(vhostuser.RequestSetConfig, Config(off, uint32(len(b)), 0, b))
}
