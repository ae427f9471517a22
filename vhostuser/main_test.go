package vhostuser_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience bounds every wait in these tests.
const patience = 20 * time.Second

// rig is a session with a recording device and the front-end's end of its socket.
type rig struct {
	*testing.T
	conn    *vhostusertest.Conn
	dev     *fakeDevice
	session *vhostuser.Session
	cancel  context.CancelFunc
	ended   chan error
}

// newRig starts a session.
func newRig(t *testing.T, o vhostuser.Options) *rig {
	t.Helper()
	return newRigWith(t, o, newFake())
}

func newRigWith(t *testing.T, o vhostuser.Options, dev *fakeDevice) *rig {
	t.Helper()
	front, back, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return newRigOn(t, o, dev, front, back)
}

// newRigOn starts a session on a socket of the caller's.
func newRigOn(t *testing.T, o vhostuser.Options, dev *fakeDevice, front *vhostusertest.Conn, back *net.UnixConn) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{T: t, conn: front, dev: dev, cancel: cancel, ended: make(chan error, 1)}
	r.session = vhostuser.NewSession(back, dev, o)
	go func() { r.ended <- r.session.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = front.Close()
		if r.ended != nil {
			_ = r.wait()
		}
		dev.checkDown(t)
	})
	return r
}

// wait returns what Serve returned.
func (r *rig) wait() error {
	r.Helper()
	select {
	case err := <-r.ended:
		r.ended = nil
		return err
	case <-time.After(patience):
		r.Fatal("Serve does not return")
		return nil
	}
}

// hangUp ends the connection from the front-end's side; the session must take it as a normal end.
func (r *rig) hangUp() {
	r.Helper()
	if err := r.conn.Close(); err != nil {
		r.Fatal(err)
	}
	if err := r.wait(); err != nil {
		r.Fatalf("Serve: %v", err)
	}
}

// negotiate makes the front-end one that knows protocol features p.
func (r *rig) negotiate(p vhostuser.ProtocolFeatures) {
	r.Helper()
	r.set(vhostuser.RequestSetProtocolFeatures, vhostusertest.U64(uint64(p)))
}

// allFeatures is everything that is offered.
const allFeatures vhostuser.ProtocolFeatures = 0xb22b

func (r *rig) set(req vhostuser.Request, payload []byte, fds ...int) {
	r.Helper()
	if err := r.conn.Set(req, payload, fds...); err != nil {
		r.Fatalf("%v: %v", req, err)
	}
}

// ok sends with need_reply and wants success; refused wants a nack.
func (r *rig) ok(req vhostuser.Request, payload []byte, fds ...int) {
	r.Helper()
	if v, err := r.conn.Ack(req, payload, fds...); err != nil || v != 0 {
		r.Fatalf("%v: ack %d, %v; want 0", req, v, err)
	}
}

func (r *rig) refused(req vhostuser.Request, payload []byte, fds ...int) {
	r.Helper()
	if v, err := r.conn.Ack(req, payload, fds...); err != nil || v == 0 {
		r.Fatalf("%v: ack %d, %v; want a nack", req, v, err)
	}
}

func (r *rig) get(req vhostuser.Request, payload []byte) []byte {
	r.Helper()
	m, err := r.conn.Get(req, payload)
	if err != nil {
		r.Fatalf("%v: %v", req, err)
	}
	return m.Payload
}

func (r *rig) getU64(req vhostuser.Request) uint64 {
	r.Helper()
	v, err := r.conn.GetU64(req)
	if err != nil {
		r.Fatalf("%v: %v", req, err)
	}
	return v
}

// alive checks that the session still answers, and in step.
func (r *rig) alive() {
	r.Helper()
	want := uint64(fakeFeatures | 1<<30 | 1<<26)
	if got := r.getU64(vhostuser.RequestGetFeatures); got != want {
		r.Fatalf("features %#x, want %#x", got, want)
	}
}

// base asks for the base of ring i, which stops it.
func (r *rig) base(i uint32) uint32 {
	r.Helper()
	b := r.get(vhostuser.RequestGetVringBase, vhostusertest.VringState(i, 0))
	if len(b) != 8 || !bytes.Equal(b[:4], vhostusertest.VringState(i, 0)[:4]) {
		r.Fatalf("base of ring %d: % x", i, b)
	}
	return binary.NativeEndian.Uint32(b[4:])
}

// The guest of the appendix of the protocol page: 256 MiB, seen by QEMU at traceUVA.
const (
	traceUVA  guestmem.FrontendVA = 0x7fe42ffff000
	traceSize int64               = 0x10000000
)

var (
	traceRegion = guestmem.RegionInfo{GPA: 0, Size: uint64(traceSize), UserAddr: traceUVA}
	traceAddr   = vhostusertest.VringAddr(0, 0x7fe43ffdc000, 0x7fe43ffdc800, 0x7fe43ffdd000)
)

// ringAddr places the 128 descriptors of ring i in the guest, each ring 64 KiB after the other.
func ringAddr(i uint32) []byte {
	at := traceUVA + 0x10000*guestmem.FrontendVA(i+1)
	return vhostusertest.VringAddr(i, at, at+0x800, at+0x1000)
}

// usedIdxOffset is where the used index of that ring lies in the memfd.
func usedIdxOffset(i uint32) int64 { return 0x10000*int64(i+1) + 0x1000 + 2 }

// memfd is a guest's memory; the test closes it.
func memfd(t testing.TB, size int64) int {
	t.Helper()
	f, err := sys.Memfd("guest", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f.Int()
}

func eventfd(t testing.TB) int {
	t.Helper()
	f, err := sys.EventFD()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f.Int()
}

// drained returns how often an eventfd was signalled since the last call.
func (r *rig) drained(fd int) uint64 {
	r.Helper()
	n, err := sys.Drain(fd)
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// addMemory gives the session the guest of the appendix.
func (r *rig) addMemory() (memory int) {
	r.Helper()
	fd := memfd(r, traceSize)
	r.ok(vhostuser.RequestAddMemReg, vhostusertest.MemReg(traceRegion), fd)
	return fd
}

// configure says everything about ring i but its kick.
func (r *rig) configure(i uint32) {
	r.Helper()
	r.set(vhostuser.RequestSetVringNum, vhostusertest.VringState(i, 128))
	r.set(vhostuser.RequestSetVringBase, vhostusertest.VringState(i, 0))
	r.set(vhostuser.RequestSetVringAddr, ringAddr(i))
}

// setUsedIdx writes a ring's used index into the guest's memory.
func setUsedIdx(t testing.TB, memory int, i uint32, idx uint16) {
	t.Helper()
	if _, err := unix.Pwrite(memory, binary.LittleEndian.AppendUint16(nil, idx), usedIdxOffset(i)); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
