package vhostuser_test

import (
	"context"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
)

// Descriptor 0 is legal, and is not "none".
func TestDescriptorZero(t *testing.T) {
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Dup3(saved, 0, 0); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(saved)
	}()
	r, _ := newRing(t)
	call, kick := eventfd(t), eventfd(t)
	if err := unix.Close(0); err != nil {
		t.Fatal(err)
	}
	r.ok(vhostuser.RequestSetVringCall, ut.U64(0), call) // received as 0
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), kick)
	var a, b unix.Stat_t
	if err := unix.Fstat(0, &a); err != nil {
		t.Fatalf("descriptor 0 was not used: %v", err)
	}
	if err := unix.Fstat(call, &b); err != nil || a.Ino != b.Ino {
		t.Fatalf("descriptor 0 is something else: %v", err)
	}
	if r.drained(call) != 1 {
		t.Fatal("call in descriptor 0 was not signalled")
	}
	r.hangUp()
}

// Rings that Activate must refuse, with the session none the worse.
func TestRingsThatCannotStart(t *testing.T) {
	good := func() (num, base uint32, addr []byte) { return 128, 0, ringAddr(0) }
	at := traceUVA + 0x10000
	for name, change := range map[string]func(num, base *uint32, addr *[]byte){
		"size 0":              func(num, _ *uint32, _ *[]byte) { *num = 0 },
		"not a power of two":  func(num, _ *uint32, _ *[]byte) { *num = 100 },
		"size 65536":          func(num, _ *uint32, _ *[]byte) { *num = 65536 },
		"size 2^31":           func(num, _ *uint32, _ *[]byte) { *num = 1 << 31 },
		"base over 16 bits":   func(_, base *uint32, _ *[]byte) { *base = 1 << 16 },
		"no addresses":        func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, 0, 0, 0) },
		"descriptors outside": func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, traceUVA-0x1000, at, at+0x1000) },
		"guest addresses":     func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, 0x10000, 0x10800, 0x11000) },
		"last byte outside": func(_, _ *uint32, a *[]byte) {
			*a = ut.VringAddr(0, traceUVA+guestmem.FrontendVA(traceSize)-0x7f0, at, at+0x1000)
		},
		"used ring wraps":       func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, at, at+0x800, ^traceUVA|0xfff) },
		"descriptors unaligned": func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, at+8, at+0x900, at+0x1000) },
		"available unaligned":   func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, at, at+0x801, at+0x1000) },
		"used unaligned":        func(_, _ *uint32, a *[]byte) { *a = ut.VringAddr(0, at, at+0x800, at+0x1002) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRing(t)
			num, base, addr := good()
			change(&num, &base, &addr)
			r.set(vhostuser.RequestSetVringNum, ut.VringState(0, num))
			r.set(vhostuser.RequestSetVringBase, ut.VringState(0, base))
			r.set(vhostuser.RequestSetVringAddr, addr)
			errfd := eventfd(t)
			r.ok(vhostuser.RequestSetVringErr, ut.U64(0), errfd)
			r.refused(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
			r.set(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t)) // as QEMU 7.2 does
			r.alive()
			if n := r.drained(errfd); n != 2 {
				t.Fatalf("err was signalled %d times, want 2", n)
			}
			if b := r.base(0); b != base {
				t.Fatalf("base %#x, want %#x", b, base)
			}
			r.configure(0)
			r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
			r.hangUp()
		})
	}
}

// Only eventfds are written to by workers: a full pipe would block one.
func TestEventDescriptorsMustBeEventfds(t *testing.T) {
	r, memory := newRing(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	for _, fd := range []int{pipe[1], memory} {
		r.refused(vhostuser.RequestSetVringCall, ut.U64(0), fd)
		r.refused(vhostuser.RequestSetVringErr, ut.U64(0), fd)
		r.refused(vhostuser.RequestSetVringKick, ut.U64(0), fd)
	}
	r.hangUp()
}

// A blocking eventfd whose counter is full: the next write would wait for a reader that never comes.
func TestFullBlockingEventfds(t *testing.T) {
	for _, req := range []vhostuser.Request{
		vhostuser.RequestSetVringCall, vhostuser.RequestSetVringErr, vhostuser.RequestSetVringKick,
	} {
		t.Run(req.String(), func(t *testing.T) {
			r, _ := newRing(t)
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(fd) }()
			if _, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1<<64-2)); err != nil {
				t.Fatal(err)
			}
			r.ok(req, ut.U64(0), fd)
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Fatalf("flags %#x (%v): a write to it blocks", flags, err)
			}
			r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t)) // signals call
			r.set(vhostuser.RequestSetVringNum, ut.VringState(0, 100))
			r.refused(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t)) // signals err
			r.alive()
			r.hangUp()
		})
	}
}

// A front-end that asks and never reads: the session blocks in its answer, holds one message and ends when told.
func TestFrontEndThatNeverReads(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"context": func(r *rig) { r.cancel() },
		"fail":    func(r *rig) { r.session.Fail(context.Canceled) },
		"suspend, then context": func(r *rig) {
			r.session.Suspend()
			r.cancel()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vhostuser.Options{})
			r.negotiate(allFeatures)
			d := r.neverRead()
			eventually(t, "a blocked session", d.stuck)
			end(r)
			if err := r.wait(); !errors.Is(err, context.Canceled) {
				t.Fatalf("Serve: %v", err)
			}
			<-d.ended
		})
	}
}

// Nor can it keep a session from being suspended, and with it all others from an upgrade. Its own session ends: half an
// answer is nothing to go on with.
func TestSuspendOfAFrontEndThatNeverReads(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	d := r.neverRead()
	eventually(t, "a blocked session", d.stuck)
	r.session.Suspend()
	if err := r.wait(); err == nil || errors.Is(err, vhostuser.ErrSuspended) || !strings.Contains(err.Error(), "does not read") {
		t.Fatalf("Serve: %v", err)
	}
	<-d.ended
}

// deaf is a front-end that asks as long as it can, and reads no answer.
type deaf struct {
	r        *rig
	question int // bytes of each
	answer   int
	sent     atomic.Int64  // questions
	ended    chan struct{} // it could not send any more
}

func (r *rig) neverRead() *deaf {
	r.Helper()
	ask := ut.Message{Request: vhostuser.RequestGetConfig, Flags: ut.FlagVersion, Payload: ut.Config(0, 256, 0, make([]byte, 256))}
	m, err := r.conn.Get(ask.Request, ask.Payload)
	if err != nil {
		r.Fatal(err)
	}
	d := &deaf{r: r, question: len(ask.Bytes()), answer: len(m.Bytes()), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		for r.conn.Send(ask) == nil {
			d.sent.Add(1)
		}
	}()
	return d
}

// stuck tells whether the session is blocked in an answer: it has taken one question more than it has answered, and its
// socket takes no byte more. Time says nothing: a session that does not move may have been left without a CPU.
func (d *deaf) stuck() bool {
	if full, _ := d.back(); !full {
		return false
	}
	unread, _, err := d.r.conn.Queued() // the last answers: from here on none fits in
	if err != nil {
		d.r.Fatal(err)
	}
	sent := int(d.sent.Load()) * d.question // at least
	_, waiting := d.back()
	return (sent-waiting)/d.question > unread/d.answer
}

// back looks at the session's end of the socket: whether a write blocks, and how many bytes wait to be read there. Linux
// takes a message until the memory of those that nobody has read reaches SO_SNDBUF (unix(7), SIOCOUTQ).
func (d *deaf) back() (full bool, waiting int) {
	raw, err := d.r.session.FrontEnd().SyscallConn()
	if err != nil {
		d.r.Fatal(err)
	}
	var used, room int
	var errs [3]error
	err = raw.Control(func(fd uintptr) {
		used, errs[0] = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		room, errs[1] = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		waiting, errs[2] = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	})
	for _, e := range append(errs[:], err) {
		if e != nil {
			d.r.Fatal(e)
		}
	}
	return used >= room, waiting
}

func TestContextEndsAnIdleSession(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.alive()
	r.cancel()
	if err := r.wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Serve: %v", err)
	}
}

func TestContextEndsASessionInsideAMessage(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	if err := r.conn.SendRaw(header(5, 1, 264)); err != nil {
		t.Fatal(err)
	}
	r.cancel()
	if err := r.wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Serve: %v", err)
	}
}
