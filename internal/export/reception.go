package export

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// reception accepts whoever connects, at any time, and finds out who it is: a front-end speaks first. So a connection
// without a word keeps nobody from the export, and an operator is heard while a front-end is served.
type reception struct {
	log   *slog.Logger
	front chan *net.UnixConn // front-ends, in turn
	calls chan *call

	mu      sync.Mutex
	waiting []*visitor // those that nobody attends to yet, oldest first
	guests  sync.WaitGroup
}

// visitor is a connection that waits: to say something, to be heard, or for its turn.
type visitor struct {
	conn *net.UnixConn
	away context.CancelFunc
}

// maxWaiting is how many connections may wait. One more, and the oldest is closed: whoever may connect to one export must
// not use up the descriptors of all.
const maxWaiting = 32

func newReception(log *slog.Logger) *reception {
	return &reception{log: log, front: make(chan *net.UnixConn), calls: make(chan *call)}
}

// receive takes conn in; it returns at once.
func (r *reception) receive(ctx context.Context, conn *net.UnixConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) >= maxWaiting {
		r.log.Warn("too many connections wait: the oldest is closed", "limit", maxWaiting)
		r.waiting[0].away()
		r.waiting = r.waiting[1:]
	}
	ctx, away := context.WithCancel(ctx)
	v := &visitor{conn: conn, away: away}
	r.waiting = append(r.waiting, v)
	r.guests.Go(func() {
		defer r.left(v)
		stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(longAgo) })
		request, err := firstWord(conn)
		if !stop() || err != nil {
			_ = conn.Close() // it has gone, or has to go
			return
		}
		r.pass(ctx, conn, request)
	})
}

// left takes v off the list.
func (r *reception) left(v *visitor) {
	v.away()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, v); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
}

// pass hands conn to the runner.
func (r *reception) pass(ctx context.Context, conn *net.UnixConn, request uint32) {
	if request == operatorRequest {
		c, err := hear(ctx, conn)
		if err != nil {
			r.log.Warn("an order was refused", "from", peer(conn), "error", err)
			return
		}
		select {
		case r.calls <- c:
		case <-ctx.Done():
			c.refuse(errors.New("the export is being ended, or too many wait"))
		}
		return
	}
	select {
	case r.front <- conn:
		return
	default:
		r.log.Debug("a front-end waits until the present one has gone", "front_end", peer(conn))
	}
	select {
	case r.front <- conn:
	case <-ctx.Done():
		_ = conn.Close()
	}
}

// wait returns when everybody has left.
func (r *reception) wait() { r.guests.Wait() }

// firstWord waits for the first four bytes, which it leaves where they are.
func firstWord(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var b [4]byte
	readErr := raw.Read(func(fd uintptr) bool {
		var n int
		n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return false
		case err == nil && n == 0:
			err = io.EOF
		case err == nil && n < len(b):
			return false
		}
		return true
	})
	if readErr != nil {
		err = readErr
	}
	return binary.NativeEndian.Uint32(b[:]), err
}
