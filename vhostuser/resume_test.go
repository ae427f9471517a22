package vhostuser_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// suspend ends a session between two messages and returns its state.
func (r *rig) suspend() *vhostuser.State {
	r.Helper()
	r.session.Suspend()
	if err := r.wait(); !errors.Is(err, vhostuser.ErrSuspended) {
		r.Fatalf("Serve: %v", err)
	}
	return r.session.State()
}

// resumed starts a session in the place of another.
func resumed(t *testing.T, st *vhostuser.State, step vhostuser.Step, o vhostuser.Options, front *ut.Conn) (*rig, error) {
	t.Helper()
	dev := newFake()
	s, err := vhostuser.Resume(st, step, dev, o)
	if err != nil {
		dev.checkDown(t)
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{T: t, conn: front, dev: dev, session: s, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if r.ended != nil {
			_ = r.wait()
		}
		dev.checkDown(t)
	})
	return r, nil
}

// number is a connection's descriptor, good as long as the connection is not closed.
func number(t *testing.T, c *net.UnixConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHandledAgain: a message without an answer is handled again after a death, with the same effect.
func TestHandledAgain(t *testing.T) {
	k := &noKeeper{}
	r := full(t, k)
	st := r.suspend()
	region := st.Memory[0].RegionInfo
	other := region
	other.GPA, other.UserAddr, other.Size = 1<<40, 1<<40, 1<<12
	for name, m := range map[string]struct {
		request vhostuser.Request
		payload []byte
		fds     []int
	}{
		"ADD_MEM_REG":    {vhostuser.RequestAddMemReg, ut.MemReg(region), []int{memfd(t, traceSize+1<<12)}},
		"REM_MEM_REG":    {vhostuser.RequestRemMemReg, ut.MemReg(other), nil},
		"SET_VRING_KICK": {vhostuser.RequestSetVringKick, ut.U64(1), []int{eventfd(t)}},
	} {
		if err := r.conn.Set(m.request, m.payload, m.fds...); err != nil {
			t.Fatal(err)
		}
		next, err := resumed(t, st, vhostuser.StepNone, vhostuser.Options{Keeper: &noKeeper{}}, r.conn)
		if err != nil {
			t.Fatal(name, err)
		}
		next.alive()
		next.refused(vhostuser.RequestRemMemReg, ut.MemReg(other)) // no longer
		again := next.suspend()
		if len(again.Memory) != 1 || again.Memory[0].RegionInfo != region || !again.Rings[0].Started {
			t.Errorf("%s: %+v", name, again)
		}
		if err := next.session.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestEndReachesTheFrontend although somebody else has the connection, too: a supervisor that was started with it.
func TestEndReachesTheFrontend(t *testing.T) {
	front, back, err := ut.Pair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := unix.FcntlInt(uintptr(number(t, back)), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(other) }()
	r := newRigOn(t, vhostuser.Options{}, newFake(), front, back)
	r.alive()
	if err := front.SendRaw([]byte(strings.Repeat("x", 12))); err != nil {
		t.Fatal(err)
	}
	var wrong *vhostuser.ProtocolError
	if err := r.wait(); !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	if _, err := front.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("%v, want the end of the connection", err)
	}
}
