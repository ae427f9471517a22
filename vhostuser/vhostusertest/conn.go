package vhostusertest

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// Flags of a message.
const (
	FlagVersion   uint32 = 1
	FlagReply     uint32 = 4
	FlagNeedReply uint32 = 8
)

// Timeout is how long a Conn waits for the back-end.
const Timeout = 20 * time.Second

const (
	headerSize = 12
	maxPayload = 1 << 16 // far above every message's
	maxFDs     = 16
)

// Message is one message as it is on the wire. Its size is that of the payload.
type Message struct {
	Request vhostuser.Request
	Flags   uint32
	Payload []byte
	FDs     []int // received: the receiver's
}

// Bytes encodes the message without its descriptors.
func (m Message) Bytes() []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(m.Request))
	b = binary.NativeEndian.AppendUint32(b, m.Flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(m.Payload)))
	return append(b, m.Payload...)
}

// U64 decodes the payload of a reply that is one number.
func (m Message) U64() (uint64, error) {
	if len(m.Payload) != 8 {
		return 0, errors.Errorf("%v: reply of %d bytes, want 8", m.Request, len(m.Payload))
	}
	return binary.NativeEndian.Uint64(m.Payload), nil
}

// Conn is the front-end's end of the socket.
type Conn struct {
	sock *net.UnixConn
}

// Dial connects to a listening back-end.
func Dial(path string) (*Conn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, errors.Wrap(err, "connect to the back-end")
	}
	return NewConn(c), nil
}

// NewConn takes a connected socket.
func NewConn(sock *net.UnixConn) *Conn { return &Conn{sock: sock} }

// PeerPID returns the process that listened to the socket, as unix(7) has it of SO_PEERCRED: it need not be the one that
// accepted, nor live.
func (c *Conn) PeerPID() (int, error) {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return 0, errors.Wrap(err, "socket")
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, errors.Wrap(err, "socket")
	}
	if failed != nil {
		return 0, errors.Wrap(failed, "SO_PEERCRED")
	}
	return int(cred.Pid), nil
}

// Ended tells whether the back-end has closed the connection, which its death does, too. It does not wait.
func (c *Conn) Ended() bool {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return true
	}
	var ended bool
	err = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds[:], 0)
		ended = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || ended
}

// Pair makes a connected pair: the front-end's end and the one for vhostuser.NewSession.
func Pair() (*Conn, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, errors.Wrap(err, "make a socket pair")
	}
	front, err := unixConn(fds[0])
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	back, err := unixConn(fds[1])
	if err != nil {
		_ = front.Close()
		return nil, nil, err
	}
	return NewConn(front), back, nil
}

// unixConn takes fd.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = f.Close() }() // FileConn duplicates
	c, err := net.FileConn(f)
	if err != nil {
		return nil, errors.Wrap(err, "take a socket over")
	}
	return c.(*net.UnixConn), nil
}

// Close ends the connection; a second call does nothing.
func (c *Conn) Close() error {
	if err := c.sock.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// CloseWrite makes the back-end see the end of our messages while its replies can still be read.
func (c *Conn) CloseWrite() error { return c.sock.CloseWrite() }

// Queued returns how much is on its way: bytes that we have not read, and the memory of messages that the back-end has
// not read (unix(7), SIOCINQ and SIOCOUTQ).
func (c *Conn) Queued() (unread, unsent int, err error) {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var inErr, outErr error
	err = raw.Control(func(fd uintptr) {
		unread, inErr = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		unsent, outErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	for _, e := range []error{inErr, outErr} {
		if err == nil {
			err = e
		}
	}
	return unread, unsent, err
}

// Send sends m in one piece with m.FDs, which stay the caller's.
func (c *Conn) Send(m Message) error { return c.SendRaw(m.Bytes(), m.FDs...) }

// SendRaw sends any bytes; the descriptors travel with the first one.
func (c *Conn) SendRaw(b []byte, fds ...int) error {
	if err := c.sock.SetWriteDeadline(time.Now().Add(Timeout)); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.sock.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = c.sock.Write(b[n:])
	}
	return err
}

// Recv receives one message. io.EOF: the back-end closed the connection.
func (c *Conn) Recv() (Message, error) {
	var head [headerSize]byte
	fds, err := c.fill(head[:])
	m := Message{
		Request: vhostuser.Request(binary.NativeEndian.Uint32(head[0:])),
		Flags:   binary.NativeEndian.Uint32(head[4:]),
		FDs:     fds,
	}
	if err != nil {
		return m, err
	}
	size := binary.NativeEndian.Uint32(head[8:])
	if size > maxPayload {
		return m, errors.Errorf("%v: payload of %d bytes", m.Request, size)
	}
	m.Payload = make([]byte, size)
	_, err = c.fill(m.Payload)
	return m, err
}

func (c *Conn) fill(b []byte) (fds []int, err error) {
	if err := c.sock.SetReadDeadline(time.Now().Add(Timeout)); err != nil {
		return nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	for n := 0; n < len(b); {
		got, oobn, _, _, err := c.sock.ReadMsgUnix(b[n:], oob)
		if got, err := sys.Rights(oob[:oobn]); err == nil {
			for _, f := range got {
				fds = append(fds, f.Disown())
			}
		}
		n += got
		switch {
		case errors.Is(err, io.EOF) && n == 0, errors.Is(err, unix.ECONNRESET) && n == 0:
			return fds, io.EOF
		case errors.Is(err, io.EOF):
			return fds, io.ErrUnexpectedEOF
		case err != nil:
			return fds, err
		}
	}
	return fds, nil
}

// Get sends a request that has a reply of its own, and returns that.
func (c *Conn) Get(r vhostuser.Request, payload []byte) (Message, error) {
	if err := c.Send(Message{Request: r, Flags: FlagVersion, Payload: payload}); err != nil {
		return Message{}, err
	}
	return c.reply(r)
}

// GetU64 is Get for replies that are one number.
func (c *Conn) GetU64(r vhostuser.Request) (uint64, error) {
	m, err := c.Get(r, nil)
	if err != nil {
		return 0, err
	}
	return m.U64()
}

// Set sends a request without asking for an ack.
func (c *Conn) Set(r vhostuser.Request, payload []byte, fds ...int) error {
	return c.Send(Message{Request: r, Flags: FlagVersion, Payload: payload, FDs: fds})
}

// Ack sends a request with need_reply and returns the back-end's verdict: 0 for success.
func (c *Conn) Ack(r vhostuser.Request, payload []byte, fds ...int) (uint64, error) {
	if err := c.Send(Message{Request: r, Flags: FlagVersion | FlagNeedReply, Payload: payload, FDs: fds}); err != nil {
		return 0, err
	}
	m, err := c.reply(r)
	if err != nil {
		return 0, err
	}
	return m.U64()
}

// reply receives the answer to r and judges its header as strictly as QEMU does.
func (c *Conn) reply(r vhostuser.Request) (Message, error) {
	m, err := c.Recv()
	switch {
	case err != nil:
		return m, errors.Wrapf(err, "wait for the answer to %v", r)
	case m.Request != r || m.Flags != FlagVersion|FlagReply:
		return m, errors.Errorf("answer %v with flags %#x to %v", m.Request, m.Flags, r)
	}
	return m, nil
}
