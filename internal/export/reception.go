package export

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
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

	mu     sync.Mutex
	silent []*net.UnixConn // those that have not said anything, oldest first
	guests sync.WaitGroup
}

// maxSilent is how many connections may be open without a word. One more, and the oldest is closed.
const maxSilent = 32

func newReception(log *slog.Logger) *reception {
	return &reception{log: log, front: make(chan *net.UnixConn), calls: make(chan *call)}
}

// receive takes conn in; it returns at once.
func (r *reception) receive(ctx context.Context, conn *net.UnixConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.silent) >= maxSilent {
		r.log.Warn("too many connections without a word: the oldest is closed", "limit", maxSilent)
		_ = r.silent[0].Close()
	}
	r.silent = append(r.silent, conn)
	r.guests.Go(func() {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(longAgo) })
		request, err := firstWord(conn)
		r.heard(conn)
		if !stop() || err != nil {
			_ = conn.Close() // it has gone, or we go
			return
		}
		r.pass(ctx, conn, request)
	})
}

// heard takes conn off the list of the silent.
func (r *reception) heard(conn *net.UnixConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.silent {
		if c == conn {
			r.silent = append(r.silent[:i], r.silent[i+1:]...)
			return
		}
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
			c.refuse(errors.New("the export is being ended"))
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
