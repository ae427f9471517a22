package vhostuser

import (
	"fmt"
	"io"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// An outbox is a pipe that an answer goes through on its way to the front-end, when there is a Keeper: splice(2) moves it
// from there into the socket in one call, which a kill cannot cut in two. What is in the pipe has not left, and what has left
// is not in the pipe, so a successor need not guess. An answer with a descriptor cannot go this way.

// newOutbox makes one. Its one descriptor is both ends (fifo(7), O_RDWR).
func newOutbox() (*sys.FD, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, errors.Wrap(err, "make a pipe for answers")
	}
	defer func() {
		_ = unix.Close(p[0])
		_ = unix.Close(p[1])
	}()
	n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", p[0]), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrap(err, "open a pipe for answers")
	}
	return sys.NewFD(n), nil
}

// pack puts an answer into the outbox. False: there is none, or it does not take it.
func (s *Session) pack(frame []byte) bool {
	if s.outbox == nil {
		return false
	}
	n, err := unix.Write(s.outbox.Int(), frame)
	return err == nil && n == len(frame)
}

// answer sends what is in the outbox, or else the frame itself, with a descriptor unless fd is nil.
func (s *Session) answer(packed bool, frame []byte, fd *sys.FD) error {
	if packed {
		return s.post()
	}
	return s.conn.send(frame, fd)
}

// packed is how much of an answer has not left.
func (s *Session) packed() (int, error) {
	n, err := unix.IoctlGetInt(s.outbox.Int(), unix.TIOCINQ) // FIONREAD
	return n, errors.Wrap(err, "look for an answer that has not left")
}

// post sends what is in the outbox.
func (s *Session) post() error {
	n, err := s.packed()
	for n > 0 && err == nil {
		var got int64
		writeErr := s.conn.raw.Write(func(fd uintptr) bool {
			got, err = unix.Splice(s.outbox.Int(), nil, int(fd), nil, n, unix.SPLICE_F_NONBLOCK)
			return !errors.Is(err, unix.EAGAIN)
		})
		switch {
		case writeErr != nil:
			err = writeErr
		case errors.Is(err, unix.EINTR):
			err = nil
		}
		n -= int(max(got, 0))
	}
	s.conn.unsent = err != nil
	if err != nil && gone(err) {
		return io.EOF
	}
	return errors.Wrap(err, "answer the front-end")
}

// unpack forgets an answer that a predecessor did not live to keep: its message is handled again.
func (s *Session) unpack() error {
	var b [headerSize + maxPayload]byte
	for s.outbox != nil {
		_, err := unix.Read(s.outbox.Int(), b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return errors.Wrap(err, "empty the pipe for answers")
		}
	}
	return nil
}
