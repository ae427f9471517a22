package vhostusertest

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// StartLog begins a migration as QEMU does: it shares a log, has everything logged, and tells each started ring where.
// Rings that start later log, too, until StopLog.
func (f *Frontend) StartLog() error {
	if err := f.ShareLog(); err != nil {
		return err
	}
	return f.switchLog(true)
}

// StopLog is the end of a migration that failed. The back-end keeps the log.
func (f *Frontend) StopLog() error { return f.switchLog(false) }

func (f *Frontend) switchLog(on bool) error {
	f.logging = on
	v := uint64(f.features | protocolFeaturesBit)
	if on {
		v |= uint64(virtio.FeatureLogAll)
	}
	if err := f.apply(vhostuser.RequestSetFeatures, U64(v)); err != nil {
		return err
	}
	for i, q := range f.queues {
		if !q.started {
			continue
		}
		if err := f.apply(vhostuser.RequestSetVringAddr, f.vringAddr(i)); err != nil {
			return err
		}
	}
	return nil
}

// ShareLog gives the back-end a new, empty log; the one before, if any, is closed.
func (f *Frontend) ShareLog() error {
	log, err := virtiotest.NewLog(f.memory)
	if err != nil {
		return err
	}
	if err := f.setLogBase(log); err != nil {
		_ = log.Close()
		return err
	}
	if f.log != nil {
		err = f.log.Close()
	}
	f.log = log
	return err
}

func (f *Frontend) setLogBase(log *virtiotest.Log) error {
	m := Message{
		Request: vhostuser.RequestSetLogBase, Flags: FlagVersion,
		Payload: LogBase(log.Size(), 0), FDs: []int{log.FD()},
	}
	if err := f.Send(m); err != nil {
		return err
	}
	m, err := f.reply(m.Request)
	if err != nil {
		return err
	}
	switch v, err := m.U64(); {
	case err != nil:
		return err
	case v != 0:
		return errors.Errorf("the back-end answers %d to SET_LOG_BASE", v)
	}
	return nil
}

// Log is what ShareLog has shared last.
func (f *Frontend) Log() *virtiotest.Log { return f.log }

// vringAddr is the payload of SET_VRING_ADDR for queue i.
func (f *Frontend) vringAddr(i int) []byte {
	d := f.queues[i].driver
	desc, driver, device := d.Addresses()
	if f.logging {
		return VringLogAddr(uint32(i), desc, driver, device, d.LogAddress())
	}
	return VringAddr(uint32(i), desc, driver, device)
}
