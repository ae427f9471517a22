package export

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// An export's socket is also where another vublk of the same user, or of root, speaks to it: to take the export over, or to
// have its image released. The first message tells: it is framed like vhost-user's, with an id that no front-end uses.
//
//	u32 operatorRequest · u32 1 · u32 size · JSON, with descriptors
const (
	operatorRequest = 0x6b6c6276 // "vblk"
	operatorFlags   = 1
	operatorHead    = 12
	operatorMax     = 1 << 20
	operatorFDs     = 200 // of one message; the kernel's limit is 253
)

// operatorTime bounds each step of a conversation.
const operatorTime = 5 * time.Second

// What an operator may ask for, and the steps of taking an export over.
const (
	doTakeOver = "take-over"
	doRelease  = "release"

	stepFiles = "files" // descriptors, in several messages
	stepGo    = "go"    // these were all
	stepReady = "ready" // the new process has everything it needs
	stepYours = "yours" // the old one will not touch it any more
	stepDone  = "done"
)

// operatorMessage is what both sides send.
type operatorMessage struct {
	Do    string   `json:"do,omitempty"`
	Step  string   `json:"step,omitempty"`
	Names []string `json:"names,omitempty"` // of the descriptors
	Error string   `json:"error,omitempty"` // why there will be nothing else
}

// conversation is one connection of an operator, on either side.
type conversation struct{ conn *net.UnixConn }

func (c *conversation) close() { _ = c.conn.Close() }

func (c *conversation) send(m operatorMessage, fds ...int) error {
	body, err := json.Marshal(&m)
	if err != nil {
		return err
	}
	b := binary.NativeEndian.AppendUint32(nil, operatorRequest)
	b = binary.NativeEndian.AppendUint32(b, operatorFlags)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(operatorTime)); err != nil {
		return err
	}
	n, _, err := c.conn.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.conn.Write(b[n:])
	}
	return err
}

// receive waits for the next message, and for one that says step unless that is "". The descriptors are the caller's.
func (c *conversation) receive(step string) (m operatorMessage, fds []*sys.FD, err error) {
	defer func() {
		if err != nil {
			sys.CloseAll(fds)
			fds = nil
		}
	}()
	if err := c.conn.SetReadDeadline(time.Now().Add(operatorTime)); err != nil {
		return m, nil, err
	}
	var head [operatorHead]byte
	oob := make([]byte, unix.CmsgSpace(4*operatorFDs))
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(head[:], oob) // sets MSG_CMSG_CLOEXEC
	if oobn > 0 {
		fds, _ = sys.Rights(oob[:oobn]) // what is missing is missed by name
	}
	if err == nil && n < len(head) {
		_, err = io.ReadFull(c.conn, head[n:])
	}
	if err != nil {
		return m, fds, err
	}
	size := binary.NativeEndian.Uint32(head[8:])
	if flags&unix.MSG_CTRUNC != 0 || size > operatorMax || binary.NativeEndian.Uint32(head[:]) != operatorRequest {
		return m, fds, errors.New("this is not how a vublk speaks")
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return m, fds, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fds, errors.Wrap(err, "this is not how a vublk speaks")
	}
	switch {
	case m.Error != "":
		return m, fds, errors.New(m.Error)
	case step != "" && m.Step != step:
		return m, fds, errors.Errorf("step %q where %q was due", m.Step, step)
	}
	return m, fds, nil
}

// await is receive for a step that brings nothing.
func (c *conversation) await(step string) error {
	_, fds, err := c.receive(step)
	sys.CloseAll(fds)
	return err
}

// refuse tells the other side why it gets nothing.
func (c *conversation) refuse(err error) {
	_ = c.send(operatorMessage{Error: err.Error()}) // it may be gone
	c.close()
}

// call is an operator's request, for the runner.
type call struct {
	conversation
	do string
}

// gone tells whether the caller has lost its patience: what it asked for must not happen behind its back.
func (c *call) gone() bool {
	gone := true // also when there is no descriptor any more
	_ = control(c.conn, func(fd int) error {
		var b [1]byte
		n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = !errors.Is(err, unix.EAGAIN) && n <= 0
		return err
	})
	if gone {
		c.close()
	}
	return gone
}

// grant answers an order that was carried out, or not.
func (c *call) grant(err error) {
	if err != nil {
		c.refuse(err)
		return
	}
	_ = c.send(operatorMessage{Step: stepDone}) // it may be gone
	c.close()
}

// hear reads an operator's first message.
func hear(ctx context.Context, conn *net.UnixConn) (*call, error) {
	c := &call{conversation: conversation{conn}}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	if !entitled(conn) { // before anything of its is read
		err := errors.New("only root and the user that runs the export may give it orders")
		c.refuse(err)
		return nil, err
	}
	m, fds, err := c.receive("")
	sys.CloseAll(fds)
	switch {
	case err != nil:
		c.close()
		return nil, err
	case m.Do != doTakeOver && m.Do != doRelease:
		err = errors.Errorf("this vublk does not know the order %q", m.Do)
	}
	if err != nil {
		c.refuse(err)
		return nil, err
	}
	c.do = m.Do
	return c, nil
}

// order begins a conversation with the export that listens at path.
func order(path, do string) (*conversation, error) {
	conn, err := net.DialTimeout("unix", path, operatorTime)
	if err != nil {
		return nil, errors.Wrapf(err, "no vublk can be reached at %s", path)
	}
	c := &conversation{conn.(*net.UnixConn)}
	if err := c.send(operatorMessage{Do: do}); err != nil {
		c.close()
		return nil, errors.Wrapf(err, "speak to the vublk at %s", path)
	}
	return c, nil
}
