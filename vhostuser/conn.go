package vhostuser

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// conn is the socket to the front-end and the one buffer for each direction. The session's goroutine owns it; only
// Session.Fail and Suspend touch it from elsewhere, through the socket's deadline.
//
// A message stays in the socket while it is handled, so that a process that dies meanwhile leaves it to its successor:
// receive only looks at it (MSG_PEEK, recv(2)) and consume takes it out.
type conn struct {
	sock *net.UnixConn
	raw  syscall.RawConn
	own  *sys.FD // a duplicate, for whoever comes after us
	in   [headerSize + maxPayload + 1]byte
	out  []byte
	oob  [controlSize]byte // more than that and the kernel says MSG_CTRUNC

	unsent bool // an answer has not left, or not all of it
}

// controlSize is room for the maxFDs descriptors of a message, and for the credentials that the kernel puts before them
// on an inherited socket with SO_PASSCRED (unix(7)): struct cmsghdr is 16 bytes, struct ucred 12, padded to 8.
const controlSize = 16 + maxFDs*4 + 16 + unix.SizeofUcred + 4

func (c *conn) open(sock *net.UnixConn) error {
	c.sock = sock
	var err error
	if c.raw, err = sock.SyscallConn(); err != nil {
		return err
	}
	controlErr := c.raw.Control(func(fd uintptr) { c.own, err = sys.NewFD(int(fd)).Dup() })
	if err == nil {
		err = controlErr
	}
	return err
}

// close ends the connection. What the front-end has sent is read first, within bounds: else Linux tells it that the
// connection was reset, not that it has ended (unix(7)). shared: another process has the connection too, and goes on.
func (c *conn) close(shared bool) {
	_ = c.own.Close()
	if !shared && c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) {
			for range 16 {
				if n, _, err := unix.Recvfrom(int(fd), c.in[:], unix.MSG_DONTWAIT); n <= 0 || err != nil {
					break
				}
			}
			// A supervisor that was started with the connection has it for as long as it lives.
			_ = unix.Shutdown(int(fd), unix.SHUT_RDWR)
		})
	}
	_ = c.sock.Close() // nothing of ours is buffered in it
}

// receive looks at the next message, whose old descriptors are gone. io.EOF means that the front-end left between two
// messages. On error m holds no descriptor.
//
// The descriptors travel with the first byte of the header, so says QEMU's text since 10.2; before, it said nothing,
// and we take them from every byte of the message. No look goes beyond the message, so that they cannot be the next
// one's.
func (c *conn) receive(m *message) error {
	err := c.receiveInto(m)
	if err != nil {
		m.closeFDs()
	}
	return err
}

func (c *conn) receiveInto(m *message) error {
	m.header = header{}
	head := (*[headerSize]byte)(c.in[:headerSize])
	if n, err := c.peek(headerSize, m); err != nil {
		if n == 0 && gone(err) {
			return io.EOF
		}
		return c.cut(m, err)
	}
	m.header = decodeHeader(head)
	if fault := m.fault(); fault != "" {
		return &ProtocolError{Request: m.request, Reason: fault}
	}
	m.payload = c.in[headerSize : headerSize+int(m.size)]
	if m.size == 0 {
		return nil
	}
	// From the first byte again: a look at the rest alone would bring the same descriptors a second time.
	if _, err := c.peek(headerSize+int(m.size), m); err != nil {
		return c.cut(m, err)
	}
	return nil
}

// peek looks at the first size bytes and collects copies of the descriptors that come with them.
//
// It looks at one byte more. Linux goes on to the data of the next send(2) when it has delivered all the bytes that it was
// asked to show, unless what it has shown came with descriptors, and delivers the descriptors that it finds there
// (af_unix.c, seen with 6.18). If it shows that byte, descriptors are not ours.
func (c *conn) peek(size int, m *message) (int, error) {
	m.closeFDs()
	m.truncated = false
	for n := 0; n < size; {
		got, oobn, flags, err := c.recvmsg(c.in[n:size+1], c.oob[:], unix.MSG_PEEK, n)
		n += got
		var next message
		owner := m
		if n > size {
			owner = &next
		}
		if oobn > 0 {
			owner.collect(c.oob[:oobn])
		}
		owner.truncated = owner.truncated || flags&unix.MSG_CTRUNC != 0
		next.closeFDs()
		if err != nil {
			return n, err
		}
		if got == 0 {
			return n, io.EOF
		}
	}
	return size, nil
}

// recvmsg waits for data: from byte at of what is waiting on, when it only looks.
func (c *conn) recvmsg(b, oob []byte, flags, at int) (n, oobn, rflags int, err error) {
	readErr := c.raw.Read(func(fd uintptr) bool {
		if flags&unix.MSG_PEEK != 0 {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEEK_OFF, at); err != nil {
				return true
			}
		}
		n, oobn, rflags, _, err = unix.Recvmsg(int(fd), b, oob, flags|unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		for errors.Is(err, unix.EINTR) {
			n, oobn, rflags, _, err = unix.Recvmsg(int(fd), b, oob, flags|unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if readErr != nil {
		err = readErr
	}
	return max(n, 0), oobn, rflags, err
}

// consume takes a message out of the socket that was looked at.
func (c *conn) consume(m *message) error {
	if err := c.drop(headerSize + int(m.size)); err != nil {
		return c.cut(m, err)
	}
	return nil
}

// drop takes n bytes out of the socket, all of which are there, and what descriptors come with them.
func (c *conn) drop(n int) error {
	var b [512]byte
	for n > 0 {
		var got int
		var err error
		// Not by a read that a deadline could end.
		controlErr := c.raw.Control(func(fd uintptr) {
			got, _, _, _, err = unix.Recvmsg(int(fd), b[:min(n, len(b))], nil, unix.MSG_DONTWAIT)
		})
		switch {
		case controlErr != nil:
			return controlErr
		case err == unix.EINTR:
			continue
		case err == nil && got == 0:
			err = io.EOF
		}
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// waiting returns the first n bytes that are waiting, or as many as there are.
func (c *conn) waiting(n int) ([]byte, error) {
	b := make([]byte, n)
	var err error
	controlErr := c.raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err == nil {
			n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
	})
	switch {
	case controlErr != nil:
		return nil, controlErr
	case err == unix.EAGAIN:
		return nil, nil
	}
	return b[:max(n, 0)], err
}

// collect takes ownership of the descriptors in a control message.
func (m *message) collect(oob []byte) {
	fds, err := sys.Rights(oob)
	m.truncated = m.truncated || err != nil
	m.fds = append(m.fds, fds...)
	for len(m.fds) > maxFDs { // some with every byte of the message: bounded, whatever is sent
		last := len(m.fds) - 1
		_ = m.takeFD(last).Close()
		m.fds, m.truncated = m.fds[:last], true
	}
}

// cut explains a read that ended inside a message.
func (c *conn) cut(m *message, err error) error {
	if gone(err) {
		return &ProtocolError{Request: m.request, Reason: "the connection ended inside a message"}
	}
	return errors.Wrap(err, "receive from the front-end")
}

// frame encodes the reply to a request: QEMU wants the flags to be exactly version and reply. It is valid until the next.
func (c *conn) frame(r Request, payload []byte) []byte {
	h := header{request: r, flags: flagVersion | flagReply, size: uint32(len(payload))}
	c.out = append(h.append(c.out[:0]), payload...)
	return c.out
}

// send writes one message, with a descriptor unless fd is nil. A front-end that does not read blocks us here, until the
// session is cancelled.
func (c *conn) send(b []byte, fd *sys.FD) error {
	var rights []byte
	if fd != nil {
		rights = unix.UnixRights(fd.Int())
	}
	n, _, err := c.sock.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.sock.Write(b[n:])
	}
	if err != nil {
		c.unsent = true
		if gone(err) {
			return io.EOF
		}
		return errors.Wrap(err, "answer the front-end")
	}
	return nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// wake makes reads and writes return os.ErrDeadlineExceeded now and for ever, from any goroutine. The socket stays
// open on purpose: a front-end that sees its end reads the used indices as they are, so the rings are drained first.
func (c *conn) wake() { _ = c.sock.SetDeadline(longAgo) }

// wakeReader does it to reads now, and to writes after a patience.
func (c *conn) wakeReader(patience time.Duration) {
	_ = c.sock.SetWriteDeadline(time.Now().Add(patience))
	_ = c.sock.SetReadDeadline(longAgo)
}

// gone tells that the front-end is no longer there. Linux answers ECONNRESET instead of an end of file when it left
// with unread bytes of ours (unix(7)).
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// woken tells that wake ended a read or a write.
func woken(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
