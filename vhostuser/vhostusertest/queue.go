package vhostusertest

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/virtio"
)

// Start starts and enables all queues, in QEMU's order.
func (f *Frontend) Start() error {
	if err := f.sendFeatures(); err != nil {
		return err
	}
	if err := f.shareInflight(); err != nil {
		return err
	}
	for i := range f.queues {
		if err := f.StartQueue(i); err != nil {
			return err
		}
	}
	for i := range f.queues {
		if err := f.EnableQueue(i, true); err != nil {
			return err
		}
	}
	return nil
}

// Stop disables and stops all queues. When it returns nothing is in flight.
func (f *Frontend) Stop() error {
	for i := range f.queues {
		if err := f.EnableQueue(i, false); err != nil {
			return err
		}
	}
	for i := range f.queues {
		if err := f.StopQueue(i); err != nil {
			return err
		}
	}
	return nil
}

// StartQueue starts queue i where it stopped last.
func (f *Frontend) StartQueue(i int) error {
	q := f.queues[i]
	ring := uint32(i)
	if err := f.apply(vhostuser.RequestSetVringCall, U64(uint64(i)), q.driver.CallFD()); err != nil {
		return err
	}
	if err := f.apply(vhostuser.RequestSetVringErr, U64(uint64(i)), q.driver.ErrFD()); err != nil {
		return err
	}
	for _, m := range []Message{
		{Request: vhostuser.RequestSetVringNum, Payload: VringState(ring, uint32(q.driver.Size()))},
		{Request: vhostuser.RequestSetVringBase, Payload: VringState(ring, q.base)},
		{Request: vhostuser.RequestSetVringAddr, Payload: f.vringAddr(i)},
	} {
		if err := f.Set(m.Request, m.Payload); err != nil {
			return err
		}
	}
	if err := f.apply(vhostuser.RequestSetVringKick, U64(uint64(i)), q.driver.KickFD()); err != nil {
		return err
	}
	q.started = true
	return nil
}

// EnableQueue lets the back-end fetch from queue i or not.
func (f *Frontend) EnableQueue(i int, on bool) error {
	var v uint32
	if on {
		v = 1
	}
	return f.apply(vhostuser.RequestSetVringEnable, VringState(uint32(i), v))
}

// StopQueue stops queue i, drained, and remembers where it stands.
func (f *Frontend) StopQueue(i int) error {
	m, err := f.Get(vhostuser.RequestGetVringBase, VringState(uint32(i), 0))
	if err != nil {
		return err
	}
	if len(m.Payload) != 8 || binary.NativeEndian.Uint32(m.Payload) != uint32(i) {
		return errors.Errorf("base of queue %d: the back-end answers % x", i, m.Payload)
	}
	f.queues[i].base = binary.NativeEndian.Uint32(m.Payload[4:])
	f.queues[i].started = false
	return nil
}

// Started tells whether queue i is started.
func (f *Frontend) Started(i int) bool { return f.queues[i].started }

// Base returns where queue i will start; SetBase says otherwise, as QEMU does after a crash of its back-end.
func (f *Frontend) Base(i int) virtio.Base { return virtio.Base(f.queues[i].base) }

// SetBase is for the next StartQueue.
func (f *Frontend) SetBase(i int, b virtio.Base) { f.queues[i].base = uint32(b) }

// Reset resets the device and empties the rings, as a guest does when it boots again. Memory is not shared again.
func (f *Frontend) Reset() error {
	if f.protocol.Has(vhostuser.ProtocolResetDevice) {
		if err := f.apply(vhostuser.RequestResetDevice, nil); err != nil {
			return err
		}
	}
	if err := f.inflight.drop(); err != nil {
		return err
	}
	for _, q := range f.queues {
		q.started = false
		q.driver.Reset(0)
		q.base = uint32(q.driver.Base())
	}
	return nil
}
