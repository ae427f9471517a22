package sys

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Rights takes the descriptors out of a control message (unix(7), SCM_RIGHTS); the caller owns them. Other kinds of control
// data, such as credentials, are passed over. An error tells that the message is malformed; there may be descriptors all
// the same.
func Rights(oob []byte) (fds []*FD, err error) {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, errors.Wrap(err, "take a control message apart")
	}
	for i := range list {
		if list[i].Header.Level != unix.SOL_SOCKET || list[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		got, parseErr := unix.ParseUnixRights(&list[i])
		if parseErr != nil {
			err = errors.Wrap(parseErr, "take a control message apart")
			continue
		}
		for _, n := range got {
			fds = append(fds, NewFD(n))
		}
	}
	return fds, err
}

// CloseAll closes descriptors that nobody has taken.
func CloseAll(fds []*FD) {
	for _, f := range fds {
		_ = f.Close()
	}
}
