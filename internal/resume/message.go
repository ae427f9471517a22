package resume

import (
	"strings"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// Message is one datagram between a process and its holder: NAME=value lines (sd_notify(3)) and descriptors.
type Message struct {
	Fields map[string]string
	FDs    []*sys.FD // received: the receiver's
}

// Names of fields. Those of systemd mean what sd_notify(3) says; X_… are between us and our supervisor.
const (
	FieldReady    = "READY"
	FieldStopping = "STOPPING"
	FieldStatus   = "STATUS"
	FieldStore    = "FDSTORE"
	FieldRemove   = "FDSTOREREMOVE"
	FieldName     = "FDNAME"
	FieldPoll     = "FDPOLL"
	FieldBarrier  = "BARRIER"
	// FieldNames lists the names of the descriptors that the supervisor hands out, with colons between.
	FieldNames = "X_VUBLK_FDNAMES"
	// FieldGo says that these were all: the process may begin.
	FieldGo = "X_VUBLK_GO"
	// FieldHandOver asks a process to leave everything to the holder and to end.
	FieldHandOver = "X_VUBLK_HANDOVER"
	// FieldStandby tells the supervisor that a process has begun and waits for what is kept.
	FieldStandby = "X_VUBLK_STANDBY"
	// FieldServed tells the supervisor that a request was completed for the first time since the process began.
	FieldServed = "X_VUBLK_SERVED"
)

// Bounds of one datagram: SCM_MAX_FD of the kernel, and room for as many of the longest names.
const (
	maxMessageFDs = 253
	maxMessage    = maxMessageFDs*256 + 4096
)

// send sends fields, NAME=value, and descriptors in one datagram.
func send(sock int, fds []int, fields ...string) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(sock, []byte(strings.Join(fields, "\n")), rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// Receive waits for the next datagram. io.EOF's place is taken by an empty message: nobody sends one.
func Receive(sock int) (Message, error) {
	b, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxMessageFDs))
	n, oobn, flags, _, err := unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, oobn, flags, _, err = unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return Message{}, err
	}
	m := Message{Fields: map[string]string{}}
	m.FDs, _ = sys.Rights(oob[:oobn]) // what is missing is missed by name
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		m.Close()
		return Message{}, errors.New("a message to the holder was cut off: too long, or out of descriptors")
	}
	for line := range strings.Lines(string(b[:n])) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			m.Fields[name] = value
		}
	}
	return m, nil
}

// Close closes the descriptors that nobody has taken.
func (m *Message) Close() { sys.CloseAll(m.FDs) }

// HandOut sends descriptors and their names to a process that begins, and tells it to go.
func HandOut(sock int, names []string, fds []int) error {
	for len(names) > 0 {
		n := min(len(names), maxMessageFDs)
		if err := send(sock, fds[:n], FieldNames+"="+strings.Join(names[:n], ":")); err != nil {
			return errors.Wrap(err, "hand descriptors to the new process")
		}
		names, fds = names[n:], fds[n:]
	}
	return errors.Wrap(send(sock, nil, FieldGo+"=1"), "tell the new process to begin")
}

// AskHandOver asks the process at the other end of sock to leave everything to the holder and to end.
func AskHandOver(sock int) error { return send(sock, nil, FieldHandOver+"=1") }
