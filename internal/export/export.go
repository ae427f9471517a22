package export

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/crashpoint"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/vhostuser"
)

// Export is one socket, one session at a time, one device and one Disk. Its methods may be called from any goroutine.
type Export struct {
	def   Definition
	given Given
	claim claim
	pool  *blk.Pool
	log   *slog.Logger
	trace bool

	replaced bool // its claim outlives it; under the registry's lock

	holder   *resume.Holder // keeps what a successor of this process needs; nil: nobody does
	prefix   string         // of the names of it
	heritage heritage       // what a predecessor has left; the runner's
	takeOver *TakeOver      // the predecessor lives, and hands over; nil: not so
	handing  atomic.Bool    // told to leave everything to the holder
	owes     atomic.Bool    // there is a session in the heritage
	giveBack func(prefix string, h heritage)

	state    state
	session  atomic.Pointer[vhostuser.Session]
	attached atomic.Pointer[string] // who is connected; nil: nobody
	untold   atomic.Bool            // of a change of the configuration space: the session that is suspended
	parts    parts                  // the runner's
	counted  counted

	peers    *peers          // the exports that begin together with this one
	reports  sync.WaitGroup  // those that speak to the holder beside the runner
	started  atomic.Bool     // somebody has the runner's part
	ctx      context.Context // the life of the runner, which outlives the call that starts it
	stop     context.CancelFunc
	listened bool          // written before ready is closed
	ready    chan struct{} // closed when it listens, or is closed without ever having done so
	err      error         // why it ended; written before done is closed
	done     chan struct{} // closed with the last descriptor
}

// parts are what an open export consists of.
type parts struct {
	disk     blk.Disk
	borrowed bool // the disk is somebody else's, who closes it
	device   *blk.Device
	gate     *gate  // nil: a disk that is no file, which needs no lock
	sizes    *sizer // nil: a store, whose size is fixed
	socket   socket
	info     blk.DiskInfo
}

// Definition returns what the export was made of.
func (e *Export) Definition() Definition { return e.def }

// State returns where the export is in its life.
func (e *Export) State() State { return e.state.load() }

// Ready is closed when the export listens, or has failed to.
func (e *Export) Ready() <-chan struct{} { return e.ready }

// Listened tells whether front-ends could ever come. It waits for Ready.
func (e *Export) Listened() bool {
	<-e.ready
	return e.listened
}

// Done is closed when the export has ended and holds nothing any more; Err then says why.
func (e *Export) Done() <-chan struct{} { return e.done }

// Err is why the export ended: nil when it was told to, or when the front-end of a connected socket has gone. It waits
// for that end.
func (e *Export) Err() error {
	<-e.done
	return e.err
}

// ClearFlushError lets flushes be tried again after a failed one; false: none has failed.
func (e *Export) ClearFlushError() bool {
	select {
	case <-e.ready:
	default:
		return false
	}
	return e.listened && e.parts.device.ClearFlushError()
}

// end stops the export and waits until it holds nothing any more. What it had ended of by itself is no error here: Err
// told that.
func (e *Export) end() error {
	if e.State() == Closed {
		<-e.done
		return nil
	}
	e.halt()
	if e.started.CompareAndSwap(false, true) { // there is no runner, and there will be none
		e.close(nil)
	}
	if err := e.Err(); e.listened {
		return err
	}
	return nil // it was about to end of what kept it from listening
}

// halt tells the runner to end. One that hands over does that by itself, and must not be cut short in an answer to the front-end.
func (e *Export) halt() {
	if !e.handing.Load() {
		e.stop()
	}
}

// run is the runner: the only writer of state, parts and err.
func (e *Export) run() {
	e.state.change(WaitingForLock)
	err := e.begin()
	if err == nil {
		e.state.change(Listening)
		e.announce()
		e.listened = true
		close(e.ready)
		e.parts.socket.begin(e.ctx)
		err = e.serve()
	}
	e.close(err)
}

// close ends the export because of err, or because it was told to.
func (e *Export) close(err error) {
	err = e.ignoreCancel(err)
	e.stop() // those who wait at the socket leave
	e.reports.Wait()
	if (e.handing.Load() || e.takeOver.pending()) && e.parts.socket != nil {
		e.parts.socket.leave()
		e.parts.socket = nil
	}
	_, listened := e.parts.socket.(*listener)
	if closeErr := e.parts.close(); err == nil {
		err = closeErr
	}
	if listened && e.holder != nil {
		_ = e.holder.Remove(e.prefix + kindListen) // a holder that is lost has been reported
	}
	if e.takeOver == nil { // of an export that has not come so far
		e.giveBack(e.prefix, e.heritage)
	} else {
		e.heritage.close()
	}
	e.owes.Store(false)
	if e.takeOver.pending() { // last, so that the old process finds nobody in its way
		e.takeOver.Abort()
	}
	e.err = err
	e.state.change(Closed)
	if !e.listened {
		close(e.ready)
	}
	close(e.done)
}

// serve attends to one front-end after the other. It returns nil when there will be no other.
func (e *Export) serve() error {
	resumed, err := e.resume()
	_, single := e.parts.socket.(*once)
	switch {
	case resumed && single, e.ctx.Err() != nil, e.handing.Load(), errors.Is(err, errTooNew):
		return err
	case err != nil:
		e.log.Error("session ended", "error", err)
	}
	for {
		if e.State() != Listening {
			e.state.change(Listening)
		}
		conn, order, err := e.parts.socket.next(e.ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case order != nil:
			if e.obey(order) {
				return errHandedOver
			}
			continue
		}
		err = e.attend(conn)
		if e.ctx.Err() != nil || e.handing.Load() || single {
			return err
		}
		if err != nil {
			e.log.Error("session ended", "error", err)
		}
	}
}

// obey does what an operator asks for while there is no session. It returns whether that was the end.
func (e *Export) obey(c *call) (end bool) {
	if c.gone() {
		return false
	}
	if c.do == doTakeOver {
		return e.surrender(c, nil)
	}
	c.grant(e.giveFree())
	return false
}

// attend runs one session to its end.
func (e *Export) attend(conn *net.UnixConn) error {
	e.counted.sessions.Add(1)
	e.state.change(Attached)
	e.log.Info("front-end attached", "front_end", peer(conn))
	k := e.newKeeper()
	crashpoint.Reach("session-accepted")
	e.untold.Store(false) // this front-end reads what it does not know
	return e.attendSession(vhostuser.NewSession(conn, e.device(), e.sessionOptions(k)), k)
}

// sessionOptions are those of a session that k keeps, nil: nothing does.
func (e *Export) sessionOptions(k *keeper) vhostuser.Options {
	o := vhostuser.Options{Queues: e.def.Device.NumQueues, Log: e.log, Trace: e.trace}
	if k != nil { // in an interface it would not be nil any more
		o.Keeper = k
	}
	return o
}

// device is the device as sessions see it.
func (e *Export) device() vhostuser.Device {
	if e.parts.gate != nil {
		return e.parts.gate
	}
	return e.parts.device
}

// attendSession runs a session to its end, and brings everything it wrote to stable storage.
func (e *Export) attendSession(session *vhostuser.Session, k *keeper) error {
	who := peer(session.FrontEnd())
	e.attached.Store(&who)
	defer e.attached.Store(nil)
	order, err := e.runSession(session)
	for errors.Is(err, vhostuser.ErrSuspended) {
		if order == nil {
			e.drain()
			return e.handOver(session, k)
		}
		if order.do == doTakeOver && e.surrender(order, session) {
			e.drain()
			k.drop() // the holder's worker goes on, with other exports, and its successor must not resume this one
			return e.handOver(session, nil)
		}
		if order.do == doRelease {
			order.grant(e.giveFreeUnder(session))
		}
		if session, err = e.takeBack(session, k); err == nil {
			order, err = e.runSession(session)
		}
	}
	e.drain()
	k.drop()
	if err := e.parts.device.Flush(); err != nil {
		return errors.Wrap(err, "bring writes to stable storage after the session") // and keep the image
	}
	if e.parts.gate != nil {
		e.parts.gate.release()
	}
	e.log.Info("front-end has gone")
	return err
}

// drain notes that the session comes to its end, which several may want at the same time.
func (e *Export) drain() {
	if e.State() == Attached {
		e.state.change(Draining)
	}
}

// runSession runs a session until it ends, or is suspended (vhostuser.ErrSuspended): because of an operator's order, or,
// without one, to be left to the holder. Every queue is drained then.
func (e *Export) runSession(session *vhostuser.Session) (order *call, err error) {
	e.session.Store(session)
	e.tell()
	if e.handing.Load() {
		session.Suspend()
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Serve(e.ctx) }()
	for waits := true; waits; {
		waits = false
		select {
		case err = <-ended:
		case <-e.ctx.Done():
			e.drain()
			err = <-ended
		case order = <-e.parts.calls():
			if order.gone() {
				order, waits = nil, true
				continue
			}
			session.Suspend()
			err = <-ended
		}
	}
	if order != nil && !errors.Is(err, vhostuser.ErrSuspended) {
		order.refuse(errors.New("the front-end has gone in this moment"))
	}
	e.session.Store(nil)
	if e.parts.gate != nil {
		e.parts.gate.settle() // also when the flush fails: the next session makes an attempt of its own
	}
	return order, err
}

// fail ends the session that runs, if any. It does not block.
func (e *Export) fail(err error) {
	if s := e.session.Load(); s != nil {
		s.Fail(err)
	}
}
