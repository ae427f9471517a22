package control

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// A frame of ttrpc: u32 length, u32 stream, u8 type, u8 flags, big-endian; then length bytes.
const (
	frameHead     = 10
	frameRequest  = 1
	frameResponse = 2
	frameData     = 3

	flagRemoteClosed = 1
)

// absurdFrame is a length that nobody who speaks ttrpc sends: the client speaks something else.
const absurdFrame = 16 << 20

// guard is a connection as ttrpc's server sees it. Read is called by one goroutine, Write by another.
//
// Only frames of type request come through: no method takes a stream of messages, and ttrpc dereferences nil when data comes
// for a call that is none (v1.2.10). Every way in which a client can be wrong reads as io.EOF, on which ttrpc's server ends
// the connection; on other errors it keeps it.
type guard struct {
	net.Conn
	poll   func() (gone bool) // tells whether the client has hung up, whatever it has sent before
	limits *Limits
	late   func(reason string, err error)

	in   *bufio.Reader
	head []byte // of a frame's head, still to be passed on
	left int    // bytes of its body

	out     [frameHead]byte // the head of the frame that is being sent
	outHead int             // bytes of it that are known
	outLeft int             // bytes of its body

	closeOnce sync.Once
	closed    chan struct{}

	room chan struct{} // another request may be read

	mu      sync.Mutex
	frames  int       // requests that have no answer yet
	calls   int       // of these, calls that run
	streams int       // of these, streams
	used    time.Time // when something was asked or answered last
}

func newGuard(conn net.Conn, limits *Limits, late func(string, error)) *guard {
	return &guard{
		Conn: conn, limits: limits, late: late, in: bufio.NewReader(conn), closed: make(chan struct{}),
		used: time.Now(), room: make(chan struct{}, 1), poll: func() bool { return hungUp(conn) },
	}
}

// Close implements net.Conn.
func (g *guard) Close() error {
	err := g.Conn.Close()
	g.closeOnce.Do(func() { close(g.closed) })
	return err
}

// Read passes on at most the rest of one frame.
func (g *guard) Read(p []byte) (int, error) {
	for g.left == 0 && len(g.head) == 0 {
		if err := g.begin(); err != nil {
			return 0, g.end(err)
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.in.Read(p[:min(len(p), g.left)])
	g.left -= n
	if err != nil {
		return n, g.end(err)
	}
	return n, nil
}

// end is what ttrpc is told of an error.
func (g *guard) end(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.late("a client began a request and did not finish it", nil)
	} else if absurd := (*frameError)(nil); errors.As(err, &absurd) {
		g.late("a client does not speak ttrpc", err)
	}
	return io.EOF
}

// frameError is a frame that cannot be one.
type frameError struct{ length uint32 }

func (e *frameError) Error() string { return fmt.Sprintf("a frame of %d bytes", e.length) }

// begin waits for the next frame and looks at its head. It leaves none to be passed on where the frame is to be ignored.
func (g *guard) begin() error {
	if err := g.awaitRoom(); err != nil {
		return err
	}
	if err := g.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if _, err := g.in.Peek(1); err != nil {
		return err
	}
	if err := g.SetReadDeadline(time.Now().Add(g.limits.FrameTime)); err != nil {
		return err
	}
	head := make([]byte, frameHead)
	if _, err := io.ReadFull(g.in, head); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head)
	switch {
	case length > absurdFrame:
		return &frameError{length}
	case head[8] != frameRequest: // ttrpc: unknown types are ignored
		_, err := g.in.Discard(int(length))
		return err
	case int(length) > g.limits.Frame:
		if _, err := g.in.Discard(int(length)); err != nil {
			return err
		}
		length = 0 // the request of no bytes, which names no method: oversized answers it
		binary.BigEndian.PutUint32(head, length)
	}
	g.head, g.left = head, int(length)
	g.mu.Lock()
	g.frames++
	g.used = time.Now()
	g.mu.Unlock()
	return nil
}

// awaitRoom waits until another request may be read, or the client has gone.
func (g *guard) awaitRoom() error {
	for {
		g.mu.Lock()
		full := g.frames >= g.limits.CallsPerClient+waiting
		g.mu.Unlock()
		if !full {
			return nil
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-g.room:
		case <-g.closed:
			timer.Stop()
			return net.ErrClosed
		case <-timer.C:
			if g.poll() { // nobody will see that by reading
				return io.EOF
			}
		}
		timer.Stop()
	}
}

// Write sends what ttrpc has to say, and notes which requests have their answers now.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(g.limits.WriteTime)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	g.sent(p[:n])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.late("a client does not read its answers", nil)
	}
	return n, err
}

// sent follows the frames in what was sent.
func (g *guard) sent(p []byte) {
	for len(p) > 0 {
		if g.outLeft > 0 {
			n := min(len(p), g.outLeft)
			p, g.outLeft = p[n:], g.outLeft-n
			continue
		}
		n := copy(g.out[g.outHead:], p)
		p, g.outHead = p[n:], g.outHead+n
		if g.outHead < frameHead {
			return
		}
		g.outHead, g.outLeft = 0, int(binary.BigEndian.Uint32(g.out[:]))
		kind, flags := g.out[8], g.out[9]
		if kind == frameResponse || kind == frameData && flags&flagRemoteClosed != 0 {
			g.answered()
		}
	}
}

func (g *guard) answered() {
	g.mu.Lock()
	g.frames--
	g.used = time.Now()
	g.mu.Unlock()
	select {
	case g.room <- struct{}{}:
	default:
	}
}

// idleSince tells since when nothing is to be done for this client; false: it waits for something.
func (g *guard) idleSince() (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used, g.frames == 0
}

// enter admits a call, or says which limit of the connection it exceeds.
func (g *guard) enter(stream bool) (limit int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.calls >= g.limits.CallsPerClient:
		return g.limits.CallsPerClient, false
	case stream && g.streams >= g.limits.StreamsPerClient:
		return g.limits.StreamsPerClient, false
	}
	g.calls++
	if stream {
		g.streams++
	}
	return 0, true
}

func (g *guard) leave(stream bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if stream {
		g.streams--
	}
}

// hungUp tells whether the other end of conn is closed.
func hungUp(conn net.Conn) bool {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
