package vhostuser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// noKeeper keeps everything with nobody, and remembers what was said.
type noKeeper struct {
	mu    sync.Mutex
	owed  [][]byte // the states with an answer that is owed, as JSON
	steps []vhostuser.Step
	fail  bool
}

func (k *noKeeper) Keep(st *vhostuser.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if st.Owed != nil {
		b, err := json.Marshal(st)
		if err != nil {
			return err
		}
		k.owed = append(k.owed, b)
	}
	if k.fail {
		return errFake
	}
	return nil
}

func (k *noKeeper) Step(s vhostuser.Step) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps = append(k.steps, s)
}

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

// full is a session that has been told everything that there is to say.
func full(t *testing.T, k vhostuser.Keeper) *rig {
	r := newRig(t, vhostuser.Options{Keeper: k})
	r.negotiate(allFeatures &^ vhostuser.ProtocolConfig) // so that a change of the configuration stays untold
	features := uint64(fakeFeatures | 1<<30 | virtio.FeatureLogAll)
	r.set(vhostuser.RequestSetFeatures, ut.U64(features))
	region := traceRegion
	region.GPA, region.Offset = 1<<20, 1<<12
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(region), memfd(t, traceSize+1<<12))
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.ok(vhostuser.RequestSetBackendReqFD, nil, ends[0])
	for _, fd := range ends {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	stride := virtio.InflightStride(fakeFeatures, 128)
	r.ok(vhostuser.RequestSetInflightFD, ut.Inflight(2*stride, 64, 2, 128), memfd(t, int64(64+2*stride)))
	if _, err := r.conn.Ack(vhostuser.RequestSetLogBase, ut.LogBase(1<<16, 1<<12), memfd(t, 1<<17)); err != nil {
		t.Fatal(err)
	}
	for _, i := range []uint32{1, 5} { // 5 has no room in the front-end's buffer
		r.set(vhostuser.RequestSetVringNum, ut.VringState(i, 128))
		r.set(vhostuser.RequestSetVringBase, ut.VringState(i, 0x80038003))
		at := traceUVA + 0x10000*guestmem.FrontendVA(i+1)
		r.ok(vhostuser.RequestSetVringAddr, ut.VringLogAddr(i, at, at+0x800, at+0x1000, 0x4000))
		for _, m := range []vhostuser.Request{vhostuser.RequestSetVringCall, vhostuser.RequestSetVringErr, vhostuser.RequestSetVringKick} {
			r.ok(m, ut.U64(uint64(i)), eventfd(t))
		}
		r.ok(vhostuser.RequestSetVringEnable, ut.VringState(i, 1))
	}
	r.session.ConfigChanged()
	return r
}

// TestStateSurvives: a session that was told everything is described, resumed from that, and described in the same words. A
// field that is added to State and set by nothing here fails the test; one that is not restored does, too.
func TestStateSurvives(t *testing.T) {
	k := &noKeeper{}
	r := full(t, k)
	m, err := r.conn.Get(vhostuser.RequestGetInflightFD, ut.Inflight(0, 0, 1, 128))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range m.FDs {
		_ = unix.Close(fd)
	}
	r.alive()
	st := r.suspend()
	before, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	note(reflect.ValueOf(*st), seen)
	for _, b := range k.owed {
		var owed vhostuser.State
		if err := json.Unmarshal(b, &owed); err != nil {
			t.Fatal(err)
		}
		note(reflect.ValueOf(owed.Owed), seen)
	}
	seen["State.Owed"] = true // of another moment
	for field, set := range seen {
		if !set {
			t.Errorf("%s is not set: what it means is not proved to survive", field)
		}
	}

	var read vhostuser.State
	if err := json.Unmarshal(before, &read); err != nil {
		t.Fatal(err)
	}
	fds := map[uint64]int{}
	for _, d := range st.Descriptors() {
		fds[d.ID] = d.FD
	}
	find := func(id uint64) (int, bool) { fd, ok := fds[id]; return fd, ok }
	if err := read.Bind(find); err != nil {
		t.Fatal(err)
	}
	next, err := resumed(t, &read, vhostuser.StepNone, vhostuser.Options{Keeper: &noKeeper{}}, r.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
	next.alive()
	again := next.suspend()
	after, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	if err := next.session.Release(); err != nil {
		t.Fatal(err)
	}
	if err := read.Bind(func(uint64) (int, bool) { return 0, false }); err == nil {
		t.Error("descriptors are missing, and nobody complains")
	}
}

// TestDuplicateSharesNothing: a State and its duplicate are the same but for the numbers of their descriptors.
func TestDuplicateSharesNothing(t *testing.T) {
	r := full(t, &noKeeper{})
	st := r.suspend()
	st.Owed = &vhostuser.Owed{File: st.Channel}
	before := st.Descriptors()
	dup, done, err := st.Duplicate()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if after := st.Descriptors(); !slices.Equal(before, after) {
		t.Errorf("the descriptors were %v and are %v", before, after)
	}
	list := dup.Descriptors()
	if len(list) != len(before) {
		t.Fatalf("%d descriptors of %d", len(list), len(before))
	}
	for i, d := range before {
		if list[i].ID != d.ID || list[i].FD == d.FD {
			t.Errorf("%v has become %v", d, list[i])
		}
	}
	want, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(dup); err != nil || !bytes.Equal(want, got) {
		t.Errorf("%v: %s\nwant %s", err, got, want)
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
}

// note tells of each field of each type in v whether it is set anywhere.
func note(v reflect.Value, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			note(v.Elem(), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			note(v.Index(i), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			seen[name] = seen[name] || !v.Field(i).IsZero()
			note(v.Field(i), seen)
		}
	}
}

// TestStepsOfAnAnswer: the keeper hears of each.
func TestStepsOfAnAnswer(t *testing.T) {
	k := &noKeeper{}
	r := newRig(t, vhostuser.Options{Keeper: k})
	r.alive()
	r.set(vhostuser.RequestSetOwner, nil)
	r.alive()
	r.hangUp()
	want := []vhostuser.Step{vhostuser.StepConsumed, vhostuser.StepNone, vhostuser.StepConsumed, vhostuser.StepNone}
	if !slices.Equal(k.steps, want) {
		t.Errorf("steps %v, want %v", k.steps, want)
	}
}

// TestKeeperFails: a session that cannot be kept goes on.
func TestKeeperFails(t *testing.T) {
	r := newRig(t, vhostuser.Options{Keeper: &noKeeper{fail: true}})
	r.alive()
	r.negotiate(allFeatures)
	r.addMemory()
	r.hangUp()
}

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
