package vhostuser

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/sys"
)

// Defaults and limits of Options.
const (
	// MaxQueues is the most rings that SET_VRING_KICK can name: its index has 8 bits.
	MaxQueues = 256
	// DefaultMemSlots is what GET_MAX_MEM_SLOTS answers. QEMU refuses a reconnect when the number went down.
	DefaultMemSlots = 509
)

// Options of a Session. The zero value is good.
type Options struct {
	// Queues is the answer to GET_QUEUE_NUM, 0: MaxQueues. QEMU asks for one per virtual CPU and refuses the device
	// when there are fewer, so offer many: a queue costs nothing until it starts.
	Queues int
	// MemSlots is the answer to GET_MAX_MEM_SLOTS, 0: DefaultMemSlots.
	MemSlots int
	// Log gets the session's messages, nil: none.
	Log *slog.Logger
	// Keeper, when set, keeps what a successor of this process needs to go on with the session.
	Keeper Keeper
	// Trace logs every message in both directions, at level info.
	Trace bool
}

// Session is one front-end's connection, from accept to its end.
//
// Its state is what the front-end said, and survives everything but the connection: QEMU does not repeat the memory
// table after stop and cont, system_reset or RESET_DEVICE.
//
//	            SET_VRING_NUM BASE ADDR CALL ERR              SET_VRING_KICK
//	configured ─────────────────────────────────► configured ───────────────► started
//	    ▲                                                                        │
//	    └────────────────── GET_VRING_BASE, RESET_DEVICE (drained) ──────────────┘
//
// Whether a ring is enabled is independent of that (SET_VRING_ENABLE) and takes effect when it is started.
type Session struct {
	conn conn
	dev  Device
	log  *slog.Logger
	opts Options

	protocol ProtocolFeatures // negotiated
	features uint64           // acked, without those of the transport
	memory   memory
	inflight inflightBuffer // the front-end's
	private  inflightBuffer // our own

	migration dirtyLog

	rings   []vring // up to the highest that was named
	running int     // started rings
	unknown map[Request]bool

	ids       identities
	refusals  refusals
	unoffered bool // features that were not offered have been acked, and logged
	again     bool // the next message may have been handled by a predecessor that died before it took it out of the socket

	scratch [configHeadSize + configMaxSize]byte // replies are built here
	replyFD *sys.FD                              // goes with the reply that is being built
	outbox  *sys.FD                              // nil: answers leave directly

	backend backendChannel
	openErr error           // of the connection, for Serve
	ctx     context.Context // done: Fail was called, or the context of Serve is done
	cancel  context.CancelCauseFunc
}

// NewSession takes conn; Serve closes it.
func NewSession(sock *net.UnixConn, dev Device, o Options) *Session {
	if o.Queues <= 0 || o.Queues > MaxQueues {
		o.Queues = MaxQueues
	}
	if o.MemSlots <= 0 {
		o.MemSlots = DefaultMemSlots
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{dev: dev, log: o.Log, opts: o}
	if s.openErr = s.conn.open(sock); s.openErr == nil && o.Keeper != nil {
		s.outbox, s.openErr = newOutbox()
	}
	s.backend.log, s.backend.trace, s.backend.unread = o.Log, o.Trace, true
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Fail ends the session with err: Serve returns it. Any goroutine, any number of times; the first counts.
func (s *Session) Fail(err error) {
	if err == nil {
		err = errors.New("session failed")
	}
	s.cancel(err)
	s.conn.wake() // also when it hangs in an answer after Suspend
}

// ConfigChanged tells the front-end that the configuration space changed (CONFIG_CHANGE). Any goroutine; it never
// waits. With no ring started, when the front-end would ignore it, it is kept until the next start. A front-end that
// starts its rings without having read the configuration space in this session is told without this call.
func (s *Session) ConfigChanged() { s.backend.configChanged() }

// FrontEnd returns the connection, for whoever wants to know who is at its other end. It is the session's to read, write and
// close.
func (s *Session) FrontEnd() *net.UnixConn { return s.conn.sock }

// Serve handles messages until the front-end leaves (nil), breaks the protocol (*ProtocolError), the device fails, ctx
// is done (its cause) or Fail is called (its error). When it returns, every queue is stopped and drained, and, except
// after Suspend, all descriptors, mappings and the connection are gone. Call it once.
func (s *Session) Serve(ctx context.Context) error {
	stopCaller := context.AfterFunc(ctx, func() {
		s.cancel(context.Cause(ctx))
		s.conn.wake() // also when it hangs in an answer after Suspend
	})
	defer stopCaller()
	stopWake := context.AfterFunc(s.ctx, s.wake)
	err := s.openErr
	if err == nil {
		s.keep(nil)
		crashpoint.Reach("session-kept")
		err = s.interrupted(s.loop())
		if errors.Is(err, errDeaf) && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	stopWake()
	if errors.Is(err, ErrSuspended) {
		if err = s.suspend(); errors.Is(err, ErrSuspended) {
			return err
		}
	}
	s.cancel(nil)
	return s.end(err, false)
}

// answerTime is how long a front-end may take to read the answer after which its session is suspended.
const answerTime = 2 * time.Second

// errDeaf ends a session that could not be suspended.
var errDeaf = errors.New("the front-end does not read its answers, so the session cannot go on elsewhere")

// wake ends the loop: at once, or, to suspend the session, when the message that is being handled has its answer.
func (s *Session) wake() {
	if errors.Is(context.Cause(s.ctx), ErrSuspended) {
		s.conn.wakeReader(answerTime)
		return
	}
	s.conn.wake()
}

// loop handles one message at a time, in order.
func (s *Session) loop() error {
	var m message
	for {
		err := s.conn.receive(&m)
		if err == nil {
			s.traceRequest(&m)
			err = s.dispatch(&m)
			s.again = false
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		// Only now, when the front-end has its answer and may read another of our messages.
		s.backend.setRunning(s.running > 0 && s.protocol.Has(ProtocolConfig))
	}
}

// end drains the device and lets go of everything. The connection is closed last: a front-end that sees its end reads
// the used indices.
func (s *Session) end(err error, shared bool) error {
	s.logRefusals()
	s.backend.close()
	memoErr := s.dev.SetMemo(nil) // before the reset, which is ours and not the driver's
	resetErr := s.dev.Reset()
	for i := range s.rings {
		s.rings[i].close()
	}
	s.inflight.set(inflightBuffer{})
	s.private.set(inflightBuffer{})
	logErr := s.dropLog()
	memErr := s.dropMemory()
	_ = s.outbox.Close()
	s.conn.close(shared)
	for _, e := range []error{resetErr, memoErr, logErr, memErr} {
		switch {
		case e == nil:
		case err == nil:
			err = e
		default:
			s.log.Warn("vhost-user session did not end cleanly", "error", e)
		}
	}
	return err
}
