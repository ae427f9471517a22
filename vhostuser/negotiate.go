package vhostuser

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
)

// accept is the handler of messages that ask nothing of us.
func (s *Session) accept(*message) ([]byte, error) { return nil, nil }

func (s *Session) getFeatures(*message) ([]byte, error) {
	return appendU64(s.scratch[:0], s.offeredFeatures()), nil
}

// offeredFeatures are the device's, bit 30, which says that there are protocol features, and bit 26: QEMU migrates no
// guest without it.
func (s *Session) offeredFeatures() uint64 {
	return s.dev.Features() | transportFeatures
}

// setFeatures tells the device what the driver accepted, which may be more than is offered: QEMU adds ANY_LAYOUT by
// itself for a legacy driver, and after a restart of ours it repeats what the process before had offered. QEMU repeats
// it on live rings, which it must not disturb: with bit 30 it changes nothing about them but whether they log (bit 26),
// and without bit 30 (a front-end that knows no SET_VRING_ENABLE) it enables them all. When the driver's features change there is another driver, and rings that are still started are the old
// one's: see setVringNum.
func (s *Session) setFeatures(m *message) ([]byte, error) {
	acked := u64(m.payload)
	extra := acked &^ (s.offeredFeatures() | uint64(virtio.FeatureAnyLayout))
	if extra&refusedFeatures != 0 {
		return nil, errors.Errorf("features %v were not offered and change the rings", virtio.Features(extra&refusedFeatures))
	}
	s.logUnoffered(extra)
	device := acked &^ transportFeatures
	if device != s.features {
		if err := s.stopAll(); err != nil {
			return nil, err
		}
	}
	if err := s.dev.SetFeatures(device); err != nil {
		return nil, err
	}
	s.features = device
	if err := s.switchLog(acked&featureLogAll != 0); err != nil {
		return nil, err
	}
	if acked&featureProtocolFeatures != 0 {
		return nil, nil
	}
	s.growRings(s.opts.Queues)
	for i := range s.rings {
		if err := s.enable(i, true); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// logUnoffered tells once per session that the front-end knows a device that we are not, or not any longer.
func (s *Session) logUnoffered(extra uint64) {
	if extra == 0 || s.unoffered {
		return
	}
	s.unoffered = true
	s.log.Info("vhost-user front-end acked features that are not offered", "features", virtio.Features(extra))
}

// stopAll stops all rings, drained, without forgetting anything about them.
func (s *Session) stopAll() error {
	for i := range s.rings {
		if err := s.stopIfStarted(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) getProtocolFeatures(*message) ([]byte, error) {
	return appendU64(s.scratch[:0], uint64(offered)), nil
}

func (s *Session) setProtocolFeatures(m *message) ([]byte, error) {
	p := ProtocolFeatures(u64(m.payload))
	if extra := p &^ offered; extra != 0 {
		return nil, errors.Errorf("protocol features %v were not offered", extra)
	}
	s.protocol = p
	return nil, nil
}

func (s *Session) getQueueNum(*message) ([]byte, error) {
	return appendU64(s.scratch[:0], uint64(s.opts.Queues)), nil
}

// resetDevice is a virtio reset. QEMU sends it at realize, at machine reset and at driver reset, also to a device that
// never ran. Connection, memory table, protocol features and the back-end channel stay: QEMU does not send them again.
func (s *Session) resetDevice(*message) ([]byte, error) {
	if err := s.dev.Reset(); err != nil {
		return nil, fatalError{errors.Wrap(err, "reset the device")}
	}
	s.running = 0
	s.useInflight(inflightBuffer{}) // QEMU asks for a new one
	for i := range s.rings {
		s.rings[i].reset()
	}
	return nil, nil
}
