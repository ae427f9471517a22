package vhostuser

import "github.com/pkg/errors"

// Flags of SET_CONFIG: who writes.
const (
	configFlagWritable  = 0 // VHOST_SET_CONFIG_TYPE_FRONTEND: the driver
	configFlagMigration = 1 // VHOST_SET_CONFIG_TYPE_MIGRATION: a migrated configuration space
)

// getConfig answers any offset and any size up to the limit, zeroes past the end of the device's space: QEMU asks for
// 57 bytes, SPDK always for 256 and wants as many back. The answer to nonsense is an empty payload.
func (s *Session) getConfig(m *message) ([]byte, error) {
	c, ok := decodeConfig(m.payload)
	if !ok {
		s.logRefusal(m.request, "vhost-user message refused", "offset", c.offset, "size", c.size, "payload", m.size)
		return nil, nil
	}
	// Behind the header of the reply, where append puts the same bytes.
	c.data = s.scratch[configHeadSize : configHeadSize+int(c.size)]
	clear(c.data)
	s.backend.read()
	s.dev.ReadConfig(c.data, c.offset)
	return c.append(s.scratch[:0]), nil
}

// setConfig is a write by the driver, or at the destination of a migration. The device decides what is writable; for a
// driver's nonsense no front-end loses its session.
func (s *Session) setConfig(m *message) ([]byte, error) {
	c, ok := decodeConfig(m.payload)
	if !ok || len(c.data) != int(c.size) {
		return nil, errors.Errorf("size %d in a payload of %d bytes", c.size, m.size)
	}
	if c.flags != configFlagWritable && c.flags != configFlagMigration {
		return nil, errors.Errorf("unknown flags %#x", c.flags)
	}
	if err := s.dev.WriteConfig(c.data, c.offset); err != nil {
		return nil, harmlessError{err}
	}
	return nil, nil
}
