package vhostuser

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// While it migrates its guest, a front-end shares a log in which we mark the pages that we write (vhost-user,
// "Migration"). Three messages decide what is marked, in any order and on live rings: SET_LOG_BASE brings the log,
// SET_FEATURES with LOG_ALL switches it on, SET_VRING_ADDR says for each ring whether what we write of it counts. None
// of them stops a ring.

// dirtyLog is what the first two say. It outlives everything but the connection.
type dirtyLog struct {
	at     logBase
	file   *sys.FD            // for whoever resumes the session
	mapped *guestmem.DirtyLog // nil before the first message
	before *guestmem.DirtyLog // what may still be in use while mapped is being adopted
	on     bool               // LOG_ALL
}

// vringFlagLog has what is written of a ring marked, from its log address on (VHOST_VRING_F_LOG).
const vringFlagLog uint32 = 1 << 0

// active is the log to mark in, nil when there is none.
func (l *dirtyLog) active() *guestmem.DirtyLog {
	if !l.on {
		return nil
	}
	return l.mapped
}

// setLogBase replaces the log, also while rings run: QEMU sends a larger one when the guest's memory grows. After the
// reply nobody writes to the old one any more, which QEMU then reads for the last time.
func (s *Session) setLogBase(m *message) ([]byte, error) {
	b := decodeLogBase(m.payload)
	l, err := guestmem.MapLog(m.fds[0].Int(), b.offset, b.size)
	if err != nil {
		return nil, err
	}
	_ = s.migration.file.Close()
	s.migration.at, s.migration.file = b, m.takeFD(0)
	s.migration.before, s.migration.mapped = s.migration.mapped, l
	if err := s.adoptLog(); err != nil {
		return nil, err
	}
	s.migration.before.Close()
	s.migration.before = nil
	return appendU64(s.scratch[:0], 0), nil
}

// switchLog begins to mark, or ends it.
func (s *Session) switchLog(on bool) error {
	if on == s.migration.on {
		return nil
	}
	s.migration.on = on
	s.log.Debug("vhost-user dirty logging", "on", on)
	return s.adoptLog()
}

// adoptLog returns when the device and all started rings mark where they should.
func (s *Session) adoptLog() error {
	if err := s.dev.SetLog(s.migration.active()); err != nil {
		return fatalError{errors.Wrap(err, "adopt the dirty log")}
	}
	for i := range s.rings {
		if err := s.logRing(i); err != nil {
			return fatalError{err}
		}
	}
	return nil
}

// ringLog is where ring i marks what it writes of itself, nil: nowhere.
func (s *Session) ringLog(i int) *guestmem.DirtyLog {
	if s.rings[i].addr.flags&vringFlagLog == 0 {
		return nil
	}
	return s.migration.active()
}

// logRing tells a started ring where it marks.
func (s *Session) logRing(i int) error {
	r := &s.rings[i]
	if !r.started {
		return nil
	}
	l, at := s.ringLog(i), r.addr.log
	return errors.Wrapf(s.dev.UpdateQueue(i, func(q *virtio.Queue) { q.SetLog(l, at) }), "log of ring %d", i)
}

// dropLog unmaps the log at the end of a session: no queue runs, so nobody marks any more.
func (s *Session) dropLog() error {
	err := s.switchLog(false)
	s.migration.before.Close()
	s.migration.mapped.Close()
	_ = s.migration.file.Close()
	s.migration = dirtyLog{}
	return err
}

// LogState is the log of a migration: Size bytes from Offset on of File.
type LogState struct {
	File   Descriptor `json:"file"`
	Offset uint64     `json:"offset,omitempty"`
	Size   uint64     `json:"size"`
}

func (s *Session) logState() *LogState {
	if s.migration.mapped == nil {
		return nil
	}
	return &LogState{File: s.describe(s.migration.file), Offset: s.migration.at.offset, Size: s.migration.at.size}
}

// restoreLog has the device log where its predecessor did, before a ring starts.
func (s *Session) restoreLog(st *LogState, on bool) error {
	if st == nil && !on {
		return nil
	}
	s.migration.on = on
	if st != nil {
		f, err := s.take(st.File)
		if err != nil {
			return err
		}
		s.migration.file, s.migration.at = f, logBase{size: st.Size, offset: st.Offset}
		if s.migration.mapped, err = guestmem.MapLog(f.Int(), st.Offset, st.Size); err != nil {
			return err
		}
	}
	return s.adoptLog()
}
