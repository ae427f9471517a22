package bench

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// What of virtio-blk a front-end must know (virtio-v1.3 5.2.3, 5.2.4).
const (
	featureRO      virtio.Features = 1 << 5 // VIRTIO_BLK_F_RO
	featureFlush   virtio.Features = 1 << 9 // VIRTIO_BLK_F_FLUSH
	featureWCE     virtio.Features = 1 << 11
	configCapacity                 = 0
)

// target is a connection with queues that run.
type target struct {
	front   *vhostusertest.Frontend
	queues  int
	sectors uint64
}

func connect(c *Config) (*target, error) {
	o := vhostusertest.Options{
		Queues: c.Queues, QueueSize: c.ringSize(), Packed: c.Packed, TableLen: tableLen,
		Memory: []guestmem.RegionInfo{virtiotest.RAM(c.memoryFor())},
		// Nobody reads the back-end's own requests here, and the cache mode is the back-end's business.
		Decline: featureWCE, DeclineProtocol: vhostuser.ProtocolBackendReq,
	}
	if c.NoEventIdx {
		o.Decline |= virtio.FeatureEventIdx
	}
	f, err := vhostusertest.Connect(c.Socket, o)
	if err != nil {
		return nil, err
	}
	t := &target{front: f, queues: c.Queues}
	if err := t.begin(c); err != nil {
		_ = f.Close()
		return nil, err
	}
	return t, nil
}

// begin looks at the device and starts its queues.
func (t *target) begin(c *Config) error {
	b, err := t.front.Config(configCapacity, 8)
	if err != nil {
		return err
	}
	t.sectors = binary.LittleEndian.Uint64(b)
	has := t.front.Features()
	switch {
	case c.Mix.Writes() && has.Has(featureRO):
		return errors.New("the disk is read-only")
	case c.Mix.FlushPercent > 0 && !has.Has(featureFlush):
		return errors.New("the device does not offer FLUSH")
	case c.Indirect && !has.Has(virtio.FeatureIndirectDesc):
		return errors.New("the device does not offer INDIRECT_DESC")
	}
	return t.front.Start()
}

func (t *target) drivers() []*virtiotest.Driver {
	all := make([]*virtiotest.Driver, t.queues)
	for i := range all {
		all[i] = t.front.Queue(i)
	}
	return all
}

// close ends the connection: after a good run with the queues stopped as a guest's shutdown does it.
func (t *target) close(good bool) error {
	var err error
	if good {
		err = t.front.Stop()
	}
	if e := t.front.Close(); err == nil {
		err = e
	}
	return err
}
