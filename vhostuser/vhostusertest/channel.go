package vhostusertest

import (
	"encoding/binary"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
)

// openChannel gives the back-end a socket for its own requests.
func (f *Frontend) openChannel() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return errors.Wrap(err, "make a back-end channel")
	}
	theirs := sys.NewFD(pair[1])
	defer func() { _ = theirs.Close() }()
	f.channel = sys.NewFD(pair[0])
	return f.apply(vhostuser.RequestSetBackendReqFD, nil, theirs.Int())
}

// BackendMessage waits for a message on the back-end's channel. False: none came in time.
func (f *Frontend) BackendMessage(timeout time.Duration) (Message, bool, error) {
	if f.channel == nil {
		return Message{}, false, errors.New("the back-end has no channel")
	}
	deadline := time.Now().Add(timeout)
	var head [headerSize]byte
	for {
		n, err := unix.Read(f.channel.Int(), head[:])
		switch {
		case err == nil && n == len(head):
			return Message{
				Request: vhostuser.Request(binary.NativeEndian.Uint32(head[0:])),
				Flags:   binary.NativeEndian.Uint32(head[4:]),
			}, true, nil
		case err == nil:
			return Message{}, false, errors.Errorf("%d bytes of a header on the back-end's channel", n)
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return Message{}, false, errors.Wrap(err, "read the back-end's channel")
		}
		left := time.Until(deadline)
		if left <= 0 {
			return Message{}, false, nil
		}
		fds := []unix.PollFd{{Fd: int32(f.channel.Int()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
			return Message{}, false, errors.Wrap(err, "wait for the back-end's channel")
		}
	}
}
