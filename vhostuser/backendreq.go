package vhostuser

import (
	"log/slog"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// backendConfigChange is the one message that a block device sends to its front-end:
// VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, no payload.
const backendConfigChange Request = 2

// backendChannel is the socket of SET_BACKEND_REQ_FD. The session's goroutine sets it, any goroutine sends.
//
// CONFIG_CHANGE goes out without need_reply: QEMU answers it by sending GET_CONFIG on the main socket and waiting for
// the reply, so a session that waited for an ack would wait for ever. It is sent only while a ring is started: a
// back-end without one must be silent, and QEMU would ignore it.
//
// A front-end that starts a ring without having read the configuration over this connection gets one, too: QEMU reads it
// when it makes its device and not when it reconnects, and meanwhile the disk may have grown, or the back-end been
// replaced by one that cannot know what its predecessor said.
type backendChannel struct {
	log   *slog.Logger
	trace bool

	mu      sync.Mutex
	sock    *sys.FD
	running bool // a ring is started, and the front-end knows the message
	pending bool // the front-end does not know yet that the configuration changed
	unread  bool // it has not read the configuration over this connection: what it knows is of an earlier one
}

// setBackendReqFD sets or replaces the channel.
func (s *Session) setBackendReqFD(m *message) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(m.fds[0].Int(), &st); err != nil {
		return nil, errors.Wrap(err, "stat the back-end channel")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.Errorf("descriptor of mode %#o is not a socket", st.Mode)
	}
	s.backend.set(m.takeFD(0))
	return nil, nil
}

func (b *backendChannel) set(sock *sys.FD) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.sock.Close()
	b.sock = sock
}

// state describes the channel for a successor.
func (b *backendChannel) state(describe func(*sys.FD) Descriptor) (channel Descriptor, pending, unread bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return describe(b.sock), b.pending, b.unread
}

// restore takes over what a predecessor knew of the front-end.
func (b *backendChannel) restore(channel *sys.FD, pending, unread, running bool) {
	b.set(channel)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending, b.unread, b.running = pending, unread, running
	b.flushLocked()
}

func (b *backendChannel) close() { b.set(nil) }

func (b *backendChannel) configChanged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = true
	b.flushLocked()
}

// setRunning is called after every message, when its answer is out.
func (b *backendChannel) setRunning(running bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = running
	if running && b.unread {
		b.unread, b.pending = false, true
	}
	b.flushLocked()
}

// read is called before an answer with the configuration is made.
func (b *backendChannel) read() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = false
}

// flushLocked never blocks. A full socket holds messages of the same content that nobody has read yet, which will do.
func (b *backendChannel) flushLocked() {
	if !b.pending || !b.running || b.sock == nil {
		return
	}
	b.pending = false
	if b.trace {
		b.log.Info("vhost-user", "dir", "<-", "channel", "backend", "request", "CONFIG_CHANGE_MSG")
	}
	msg := header{request: backendConfigChange, flags: flagVersion}.append(nil)
	err := unix.Sendto(b.sock.Int(), msg, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		b.log.Warn("vhost-user front-end was not told of a changed configuration", "error", err)
	}
}
