package vhostuser

import (
	"io"
	"net"
	"os"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// conn is the socket to the front-end and the one buffer for each direction. The session's goroutine owns it; only
// Session.Fail touches it from elsewhere, through the socket's deadline.
type conn struct {
	sock *net.UnixConn
	in   [headerSize + maxPayload]byte
	out  []byte
	oob  [controlSize]byte // more than that and the kernel says MSG_CTRUNC
}

// controlSize is room for the maxFDs descriptors of a message, and for the credentials that the kernel puts before them
// on an inherited socket with SO_PASSCRED (unix(7)): struct cmsghdr is 16 bytes, struct ucred 12, padded to 8.
const controlSize = 16 + maxFDs*4 + 16 + unix.SizeofUcred + 4

// receive reads the next message into m, whose old descriptors are gone. io.EOF means that the front-end left between
// two messages. On error m holds no descriptor.
//
// The descriptors travel with the first byte of the header, so says QEMU's text since 10.2; before, it said nothing,
// and we take them from every byte of the message. No read goes beyond the message, so that they cannot be the next
// one's.
func (c *conn) receive(m *message) error {
	m.fds, m.truncated = m.fds[:0], false
	err := c.receiveInto(m)
	if err != nil {
		m.closeFDs()
	}
	return err
}

func (c *conn) receiveInto(m *message) error {
	m.header = header{}
	head := (*[headerSize]byte)(c.in[:headerSize])
	if n, err := c.fill(head[:], m); err != nil {
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
	if _, err := c.fill(m.payload, m); err != nil {
		return c.cut(m, err)
	}
	return nil
}

// fill reads exactly len(b) bytes and collects the descriptors that come with them.
func (c *conn) fill(b []byte, m *message) (int, error) {
	for n := 0; n < len(b); {
		got, oobn, flags, _, err := c.sock.ReadMsgUnix(b[n:], c.oob[:]) // sets MSG_CMSG_CLOEXEC
		if oobn > 0 {
			m.collect(c.oob[:oobn])
		}
		m.truncated = m.truncated || flags&unix.MSG_CTRUNC != 0
		n += got
		if err != nil {
			return n, err
		}
		if got == 0 {
			return n, io.EOF
		}
	}
	return len(b), nil
}

// collect takes ownership of the descriptors in a control message.
func (m *message) collect(oob []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		m.truncated = true
		return
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not descriptors
		}
		for _, n := range fds {
			m.fds = append(m.fds, sys.NewFD(n))
		}
	}
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

// send writes one message, with a descriptor unless fd is nil. A front-end that does not read blocks us here, until the
// session is cancelled.
func (c *conn) send(h header, payload []byte, fd *sys.FD) error {
	h.size = uint32(len(payload))
	c.out = append(h.append(c.out[:0]), payload...)
	var rights []byte
	if fd != nil {
		rights = unix.UnixRights(fd.Int())
	}
	n, _, err := c.sock.WriteMsgUnix(c.out, rights, nil)
	if err == nil && n < len(c.out) {
		_, err = c.sock.Write(c.out[n:])
	}
	if err != nil {
		if gone(err) {
			return io.EOF
		}
		return errors.Wrapf(err, "answer %v", h.request)
	}
	return nil
}

// reply answers a request: QEMU wants the flags to be exactly version and reply.
func (c *conn) reply(r Request, payload []byte, fd *sys.FD) error {
	return c.send(header{request: r, flags: flagVersion | flagReply}, payload, fd)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// wake makes reads and writes return os.ErrDeadlineExceeded now and for ever, from any goroutine. The socket stays
// open on purpose: a front-end that sees its end reads the used indices as they are, so the rings are drained first.
func (c *conn) wake() { _ = c.sock.SetDeadline(longAgo) }

// gone tells that the front-end is no longer there. Linux answers ECONNRESET instead of an end of file when it left
// with unread bytes of ours (unix(7)).
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// woken tells that wake ended a read or a write.
func woken(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
