package vhostuser_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// newRing starts a session with memory and ring 0 configured, not started.
func newRing(t *testing.T) (r *rig, memory int) {
	t.Helper()
	r = newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
	memory = r.addMemory()
	r.configure(0)
	r.alive()
	r.dev.taken()
	return r, memory
}

func (r *rig) wantCalls(want ...string) {
	r.Helper()
	if got := r.dev.taken(); !slices.Equal(got, want) {
		r.Fatalf("device calls\n%q, want\n%q", got, want)
	}
}

func TestStartSignalsCallOnce(t *testing.T) {
	r, _ := newRing(t)
	call := eventfd(t)
	r.ok(vhostuser.RequestSetVringCall, ut.U64(0), call)
	if n := r.drained(call); n != 0 {
		t.Fatalf("signalled %d times before the start", n)
	}
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	if n := r.drained(call); n != 1 {
		t.Fatalf("signalled %d times by the start, want 1", n)
	}
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	if n := r.drained(call); n != 0 {
		t.Fatalf("signalled %d times by ENABLE", n)
	}
	r.hangUp()
}

func TestCallOfStartedRingIsReplacedAndSignalled(t *testing.T) {
	r, _ := newRing(t)
	first, second := eventfd(t), eventfd(t)
	r.ok(vhostuser.RequestSetVringCall, ut.U64(0), first)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.drained(first)
	r.ok(vhostuser.RequestSetVringCall, ut.U64(0), second)
	if a, b := r.drained(first), r.drained(second); a != 0 || b != 1 {
		t.Fatalf("the old one was signalled %d times, the new one %d times; want 0 and 1", a, b)
	}
	r.ok(vhostuser.RequestSetVringCall, ut.U64(ut.NoFD)) // the guest gave no MSI-X vector
	r.ok(vhostuser.RequestSetVringErr, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetVringErr, ut.U64(ut.NoFD))
	if a, b := r.drained(first), r.drained(second); a != 0 || b != 0 {
		t.Fatal("a replaced descriptor was signalled")
	}
	r.hangUp()
}

// QEMU sends SET_VRING_ERR when it connects and not when it starts.
func TestErrSurvivesStopAndReset(t *testing.T) {
	r, memory := newRing(t)
	errfd := eventfd(t)
	r.ok(vhostuser.RequestSetVringErr, ut.U64(0), errfd)
	for _, end := range []func(){
		func() { r.base(0) },
		func() { r.ok(vhostuser.RequestResetDevice, nil) },
		func() {},
	} {
		r.configure(0)
		r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
		// The rings move out of the guest's memory: the queue is broken, which the front-end must hear.
		r.ok(vhostuser.RequestRemMemReg, ut.MemReg(traceRegion))
		if n := r.drained(errfd); n != 1 {
			t.Fatalf("err was signalled %d times, want 1", n)
		}
		r.ok(vhostuser.RequestAddMemReg, ut.MemReg(traceRegion), memory)
		end()
	}
	r.hangUp()
}

func TestKickWithoutDescriptorStarts(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(ut.NoFD))
	r.wantCalls("StartQueue 0 size=128 enabled=false kick=false features=0x100000000")
	r.hangUp()
}

func TestSecondKickReplacesTheDescriptor(t *testing.T) {
	r, memory := newRing(t)
	setUsedIdx(t, memory, 0, 7)
	r.set(vhostuser.RequestSetVringBase, ut.VringState(0, 7))
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(ut.NoFD))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.wantCalls(
		"StartQueue 0 size=128 enabled=true kick=false features=0x100000000",
		"StopQueue 0 base=0x7",
		"StartQueue 0 size=128 enabled=true kick=true features=0x100000000",
	)
	if b := r.base(0); b != 7 {
		t.Fatalf("base %d, want 7", b)
	}
	r.hangUp()
}

func TestBaseStaysTheSameWhenAskedAgain(t *testing.T) {
	r, memory := newRing(t)
	setUsedIdx(t, memory, 0, 0x1234)
	r.set(vhostuser.RequestSetVringBase, ut.VringState(0, 0x1234))
	for range 2 {
		r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
		for range 3 {
			if b := r.base(0); b != 0x1234 {
				t.Fatalf("base %#x, want 0x1234", b)
			}
		}
	}
	if b := r.base(200); b != 0 {
		t.Fatalf("base of a ring that was never set up: %#x", b)
	}
	r.hangUp()
}

func TestBaseAnswersAfterTheDrain(t *testing.T) {
	dev := newFake()
	draining, done := make(chan struct{}), make(chan struct{})
	dev.drain = func(int) { close(draining); <-done }
	r := newRigWith(t, vhostuser.Options{}, dev)
	r.negotiate(allFeatures)
	r.addMemory()
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.set(vhostuser.RequestGetVringBase, ut.VringState(0, 0))
	<-draining
	if unread, _, err := r.conn.Queued(); err != nil || unread != 0 {
		t.Fatalf("%d bytes of an answer while a request is in flight, %v", unread, err)
	}
	close(done)
	if m, err := r.conn.Recv(); err != nil || !bytes.Equal(m.Payload, ut.VringState(0, 0)) {
		t.Fatalf("% x, %v", m.Payload, err)
	}
	r.hangUp()
}

func TestFeaturesWithoutBit30EnableAllRings(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<32))
	r.configure(1)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(1), eventfd(t))
	r.wantCalls(
		"StartQueue 0 size=128 enabled=false kick=true features=0x100000000",
		"SetFeatures 0x100000000",
		"UpdateQueue 0 enabled=true",
		"StartQueue 1 size=128 enabled=true kick=true features=0x100000000",
	)
	r.hangUp()
}

func TestFeaturesSentAgainDoNotDisturbRings(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.dev.taken()
	r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
	r.wantCalls("SetFeatures 0x100000000")
	r.refused(vhostuser.RequestSetFeatures, ut.U64(1<<35|1<<32|1<<30)) // IN_ORDER
	r.refused(vhostuser.RequestSetProtocolFeatures, ut.U64(1<<2|uint64(allFeatures)))
	r.wantCalls()
	r.hangUp()
}

func TestEnableOfRingsNeverSetUpIsHarmless(t *testing.T) {
	r := newRig(t, vhostuser.Options{Queues: 8})
	r.negotiate(allFeatures)
	call := eventfd(t)
	for i := range uint32(8) { // before SET_FEATURES and memory
		r.ok(vhostuser.RequestSetVringCall, ut.U64(uint64(i)), call)
		r.ok(vhostuser.RequestSetVringEnable, ut.VringState(i, 1))
	}
	r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
	r.addMemory()
	r.configure(3)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(3), eventfd(t))
	for i := range uint32(8) {
		r.ok(vhostuser.RequestSetVringEnable, ut.VringState(i, 0))
	}
	if got := r.dev.taken(); got[2] != "StartQueue 3 size=128 enabled=true kick=true features=0x100000000" ||
		len(got) != 4 {
		t.Fatalf("device calls %q", got)
	}
	r.hangUp()
}

func TestPackedRingStarts(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<34|1<<32|1<<30))
	const base = 1<<31 | 5<<16 | 1<<15 | 5
	r.set(vhostuser.RequestSetVringNum, ut.VringState(0, 100)) // no power of two
	r.set(vhostuser.RequestSetVringBase, ut.VringState(0, base))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	if b := r.base(0); b != base {
		t.Fatalf("base %#x, want %#x", b, base)
	}
	r.hangUp()
}

// cloud-hypervisor resets its guest without GET_VRING_BASE and describes the rings anew. What is in flight must be
// drained before, and the new ring begins where the message says.
func TestStartedRingIsDescribedAnew(t *testing.T) {
	const started = "StartQueue 0 size=128 enabled=true kick=true features=0x100000000"
	for _, c := range []struct {
		name  string
		req   vhostuser.Request
		body  []byte
		calls []string
	}{
		{"the same size", vhostuser.RequestSetVringNum, ut.VringState(0, 128), nil},
		{"another size", vhostuser.RequestSetVringNum, ut.VringState(0, 64), []string{"StopQueue 0 base=0x0"}},
		{"the same addresses", vhostuser.RequestSetVringAddr, ringAddr(0), nil},
		{"other addresses", vhostuser.RequestSetVringAddr, ringAddr(5), []string{"StopQueue 0 base=0x0"}},
		{"a base", vhostuser.RequestSetVringBase, ut.VringState(0, 0), []string{"StopQueue 0 base=0x0"}},
		{"the same features", vhostuser.RequestSetFeatures, ut.U64(1<<32 | 1<<30), []string{"SetFeatures 0x100000000"}},
		{
			"another driver's features", vhostuser.RequestSetFeatures, ut.U64(1<<34 | 1<<32 | 1<<30),
			[]string{"StopQueue 0 base=0x0", "SetFeatures 0x500000000"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := newRing(t)
			r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
			r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
			r.wantCalls(started)
			if c.name == "other addresses" {
				copy(c.body, ut.VringState(0, 0)) // of ring 0
			}
			r.ok(c.req, c.body)
			r.wantCalls(c.calls...)
			r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
			r.configure(0)
			r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
			if calls := r.dev.taken(); calls[len(calls)-1] != started {
				t.Fatalf("device calls %q", calls)
			}
			r.hangUp()
		})
	}
}

func TestResetDeviceForgetsRings(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.set(vhostuser.RequestSetVringBase, ut.VringState(0, 0))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.dev.taken()
	r.ok(vhostuser.RequestResetDevice, nil)
	r.wantCalls("Reset")
	if b := r.base(0); b != 0 {
		t.Fatalf("base %d after a reset", b)
	}
	r.refused(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t)) // size and addresses are gone
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t)) // memory is not
	r.wantCalls("StartQueue 0 size=128 enabled=false kick=true features=0x100000000")
	r.hangUp()
}

func TestDeviceFailures(t *testing.T) {
	kick := func(r *rig) { r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(r)) }
	for _, c := range []struct {
		method string
		before func(*rig)
		req    vhostuser.Request
		body   []byte
		fatal  bool
	}{
		{method: "SetFeatures", req: vhostuser.RequestSetFeatures, body: ut.U64(1<<32 | 1<<30)},
		{method: "StartQueue", req: vhostuser.RequestSetVringKick, body: ut.U64(ut.NoFD)},
		{method: "UpdateQueue", before: kick, req: vhostuser.RequestSetVringEnable, body: ut.VringState(0, 1)},
		{method: "UpdateQueue", before: kick, req: vhostuser.RequestSetVringErr, body: ut.U64(ut.NoFD)},
		{method: "UpdateQueue", before: kick, req: vhostuser.RequestSetFeatures, body: ut.U64(1 << 32)},
		{method: "SetMemory", req: vhostuser.RequestRemMemReg, body: ut.MemReg(traceRegion), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestGetVringBase, body: ut.VringState(0, 0), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestSetVringKick, body: ut.U64(ut.NoFD), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestSetVringNum, body: ut.VringState(0, 1), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestSetVringBase, body: ut.VringState(0, 1), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestSetVringAddr, body: ut.VringAddr(0, 0, 0, 0), fatal: true},
		{method: "StopQueue", before: kick, req: vhostuser.RequestSetFeatures, body: ut.U64(1 << 30), fatal: true},
		{method: "SetLog", req: vhostuser.RequestSetFeatures, body: ut.U64(1<<32 | 1<<30 | 1<<26), fatal: true},
		{method: "Reset", req: vhostuser.RequestResetDevice, fatal: true},
	} {
		t.Run(c.method+" in "+c.req.String(), func(t *testing.T) {
			r, _ := newRing(t)
			if c.before != nil {
				c.before(r)
			}
			r.dev.failWith(c.method)
			if !c.fatal {
				r.refused(c.req, c.body)
				r.alive()
				r.hangUp()
				return
			}
			if err := r.conn.Send(ut.Message{Request: c.req, Flags: 9, Payload: c.body}); err != nil {
				t.Fatal(err)
			}
			wantProtocolError(t, r.wait(), c.req)
		})
	}
}
