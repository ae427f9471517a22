package vhostuser_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
)

// wreck is what a process left behind that died while it answered GET_QUEUE_NUM.
type wreck struct {
	name   string
	step   vhostuser.Step
	packed bool
	unread bool // the answer is in the front-end's socket
	inBox  int  // bytes of the answer in the outbox; -1: all
	socket func(message, next []byte) []byte
	unsure bool
	twice  bool // the message is handled by the successor
	none   bool // the front-end has had its answer
}

// keptNumber is not what a session would answer.
const keptNumber = 77

func whole(message, _ []byte) []byte   { return message }
func nothing(_, _ []byte) []byte       { return nil }
func tail(message, _ []byte) []byte    { return message[5:] }
func another(_, next []byte) []byte    { return next }
func both(message, next []byte) []byte { return append(slices.Clone(message), next...) }

var wrecks = []wreck{
	{name: "nothing was done", step: vhostuser.StepNone, socket: whole, twice: true},
	{name: "packed and not kept", step: vhostuser.StepNone, socket: whole, inBox: -1, twice: true},
	{name: "kept", step: vhostuser.StepHandled, socket: whole},
	{name: "kept and packed", step: vhostuser.StepHandled, packed: true, inBox: -1, socket: whole},
	{name: "consumed", step: vhostuser.StepHandled, socket: nothing},
	{name: "consumed, packed", step: vhostuser.StepHandled, packed: true, inBox: -1, socket: nothing},
	{name: "half consumed", step: vhostuser.StepHandled, socket: tail},
	{name: "consumed, and the next one there", step: vhostuser.StepHandled, socket: another},
	{name: "kept, and the next one there", step: vhostuser.StepHandled, packed: true, inBox: -1, socket: both},
	{name: "due", step: vhostuser.StepConsumed, socket: nothing, unsure: true},
	{name: "sent and not read", step: vhostuser.StepConsumed, unread: true, socket: nothing},
	{name: "sent and read", step: vhostuser.StepConsumed, socket: another, none: true},
	{name: "due, packed", step: vhostuser.StepConsumed, packed: true, inBox: -1, socket: nothing},
	{name: "due, packed, half sent", step: vhostuser.StepConsumed, packed: true, inBox: 7, socket: nothing},
	{name: "sent, packed", step: vhostuser.StepConsumed, packed: true, unread: true, socket: nothing},
	{name: "sent, packed and read", step: vhostuser.StepConsumed, packed: true, socket: nothing, none: true},
}

// TestOwedAnswer: whatever moment of an answer a process dies in, the front-end gets the answer once, and the next one after it;
// or the connection ends.
func TestOwedAnswer(t *testing.T) {
	for _, w := range wrecks {
		t.Run(w.name, func(t *testing.T) { w.settle(t) })
	}
}

func (w wreck) settle(t *testing.T) {
	front, back, err := ut.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = front.Close() }()
	message := ut.Message{Request: vhostuser.RequestGetQueueNum, Flags: 1}.Bytes()
	next := ut.Message{Request: vhostuser.RequestGetFeatures, Flags: 1}.Bytes()
	reply := ut.Message{Request: vhostuser.RequestGetQueueNum, Flags: 5, Payload: ut.U64(keptNumber)}.Bytes()
	waiting := w.socket(message, next)
	if len(waiting) > 0 {
		if err := front.SendRaw(waiting); err != nil {
			t.Fatal(err)
		}
	}
	box := outbox(t)
	switch {
	case w.inBox < 0:
		write(t, box, reply)
	case w.inBox > 0:
		write(t, box, reply[len(reply)-w.inBox:])
		send(t, back, reply[:len(reply)-w.inBox])
	case w.unread:
		send(t, back, reply)
	}
	st := &vhostuser.State{
		Protocol: allFeatures, Conn: vhostuser.Descriptor{ID: 1, FD: number(t, back)}, Outbox: vhostuser.Descriptor{ID: 2, FD: box},
	}
	if w.step != vhostuser.StepNone {
		st.Owed = &vhostuser.Owed{Message: message, Reply: reply, Packed: w.packed}
	}
	r, err := resumed(t, st, w.step, vhostuser.Options{Keeper: &noKeeper{}}, front)
	_ = back.Close()
	if w.unsure {
		if !errors.Is(err, vhostuser.ErrUnsure) {
			t.Fatalf("%v, want ErrUnsure", err)
		}
		if _, err := front.Recv(); !errors.Is(err, io.EOF) {
			t.Fatalf("%v, want the end of the connection", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(keptNumber)
	if w.twice {
		want = vhostuser.MaxQueues
	}
	if !w.none {
		expect(t, front, vhostuser.RequestGetQueueNum, want)
	}
	if bytes.HasSuffix(waiting, next) {
		expect(t, front, vhostuser.RequestGetFeatures, fakeFeatures|1<<30|uint64(virtio.FeatureLogAll))
	}
	r.alive()
	if err := front.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func expect(t *testing.T, front *ut.Conn, request vhostuser.Request, want uint64) {
	t.Helper()
	m, err := front.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := m.U64(); m.Request != request || v != want || err != nil {
		t.Fatalf("%v %#x, %v; want %v %#x", m.Request, v, err, request, want)
	}
}

// outbox is a pipe whose one descriptor is both ends.
func outbox(t *testing.T) int {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", p[0]), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	_ = unix.Close(p[0])
	_ = unix.Close(p[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func write(t *testing.T, fd int, b []byte) {
	t.Helper()
	if n, err := unix.Write(fd, b); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
}

func send(t *testing.T, c *net.UnixConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}
