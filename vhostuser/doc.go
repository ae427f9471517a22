// Package vhostuser is the back-end's side of the vhost-user protocol: it receives a front-end's messages over a Unix
// socket, keeps what they say about memory and rings, and drives a Device. It knows nothing about blocks.
//
// # How to use it
//
//	l, err := vhostuser.Listen(path)
//	conn, err := l.AcceptUnix()
//	session := vhostuser.NewSession(conn, device, vhostuser.Options{})
//	err = session.Serve(ctx) // nil: the front-end has gone, and every queue is drained
//
// A device is whatever implements Device: blk.Device does, the example has one of its own. It tells its session of a change of
// its configuration space by ConfigChanged, and of guest memory that is gone by Fail. A session that is to outlive its process
// has a Keeper; Suspend and Resume are for one that moves to another process alive.
//
// # A message's way
//
//  1. conn.go receives the header, the descriptors and the payload: framing, version, size limit.
//  2. dispatch.go finds the row of the message in the table (table.go) and checks what every message must fulfil:
//     descriptors complete and as many as allowed, payload size, protocol feature negotiated.
//  3. The handler of the row (negotiate.go, memory.go, vring.go, ring.go, config.go, log.go) takes the payload apart with
//     payload.go, changes the session's configuration and calls the Device.
//  4. dispatch.go sends the reply, the ack, or the nack, and closes the descriptors that no handler took.
//
// # Configuration and running
//
// A vring collects what the SET_VRING_* messages said; it is plain data and may be nonsense. SET_VRING_KICK turns it
// into a virtio.Queue, which is validated as a whole and then owned by the Device. The vring keeps its own descriptors
// and the Queue gets duplicates, because front-ends send some of them (SET_VRING_ERR) once per connection and not once
// per start.
//
// # Who may call
//
// One goroutine, the one in Session.Serve, receives, handles and answers, one message at a time and in order; it is
// the only one that touches a Session's state and the only one that calls the Device. Session.ConfigChanged and
// Session.Fail may be called from any goroutine and never wait for the front-end.
//
// # What is trusted
//
// Nothing that the front-end sends: it may be clumsy or gone in the middle of a message. A message that it may go on
// after is refused: a nack when it asked for an ack, a log line when its guest is to blame. Everything else ends the
// session with a ProtocolError, after all rings are drained. Only then does the front-end see its connection close: it
// must not read a used index that still moves.
//
// Read next: Session, then the comment of Device, then package virtio.
package vhostuser
