package vhostuser_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

func TestGetConfigOfAnyRange(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(vhostuser.ProtocolConfig)
	device := fakeConfig(60)
	for _, c := range []struct{ off, size uint32 }{
		{0, 57},
		{0, 36},
		{0, 60},
		{0, 256},
		{32, 1},
		{59, 1},
		{60, 4},
		{0x100, 60},
		{58, 10},
		{0, 0},
		{1<<32 - 1, 256},
	} {
		want := make([]byte, c.size)
		if c.off < 60 {
			copy(want, device[c.off:])
		}
		for _, sent := range []int{int(c.size), 0} { // some leave the bytes out
			got := r.get(vhostuser.RequestGetConfig, ut.Config(c.off, c.size, 1, bytes.Repeat([]byte{0xee}, sent)))
			if !bytes.Equal(got, ut.Config(c.off, c.size, 1, want)) {
				t.Fatalf("offset %d size %d: % x", c.off, c.size, got)
			}
		}
	}
	for name, payload := range map[string][]byte{
		"257 bytes":        ut.Config(0, 257, 0, make([]byte, 257)),
		"more than sent":   ut.Config(0, 10, 0, make([]byte, 9)),
		"less than sent":   ut.Config(0, 10, 0, make([]byte, 11)),
		"enormous":         ut.Config(0, 1<<32-1, 0, nil),
		"largest payload":  ut.Config(0, 2044, 0, make([]byte, 2044)),
		"size 0 and bytes": ut.Config(0, 0, 0, make([]byte, 1)),
	} {
		if got := r.get(vhostuser.RequestGetConfig, payload); len(got) != 0 {
			t.Fatalf("%s: % x, want an empty answer", name, got)
		}
	}
	r.hangUp()
}

func TestSetConfig(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.ok(vhostuser.RequestSetConfig, ut.Config(32, 1, 0, []byte{1}))
	r.ok(vhostuser.RequestSetConfig, ut.Config(32, 1, 1, []byte{0}))
	r.refused(vhostuser.RequestSetConfig, ut.Config(0, 1, 0, []byte{1}))
	r.wantCalls("WriteConfig off=32 01", "WriteConfig off=32 00", "WriteConfig off=0 01")
	r.refused(vhostuser.RequestSetConfig, ut.Config(32, 1, 2, []byte{1}))
	r.refused(vhostuser.RequestSetConfig, ut.Config(32, 2, 0, []byte{1}))
	r.refused(vhostuser.RequestSetConfig, ut.Config(32, 1, 0, nil))
	r.refused(vhostuser.RequestSetConfig, ut.Config(32, 257, 0, make([]byte, 256)))
	r.wantCalls()
	// What a guest can make a front-end send must not end the session, ack or not.
	r.set(vhostuser.RequestSetConfig, ut.Config(0, 1, 0, []byte{1}))
	r.alive()
	r.hangUp()
}

// backendSocket gives the session a channel and returns the front-end's end of it.
func (r *rig) backendSocket() int {
	r.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = unix.Close(pair[0]) })
	r.ok(vhostuser.RequestSetBackendReqFD, nil, pair[1])
	if err := unix.Close(pair[1]); err != nil {
		r.Fatal(err)
	}
	return pair[0]
}

var configChange = []byte{2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}

// received returns what is in a non-blocking socket.
func received(t *testing.T, sock int) []byte {
	t.Helper()
	b := make([]byte, 64)
	n, err := unix.Read(sock, b)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return b[:max(n, 0)]
}

func TestConfigChangeOnlyWhileARingIsStarted(t *testing.T) {
	r, _ := newRing(t)
	r.session.ConfigChanged() // before there is a channel
	sock := r.backendSocket()
	r.session.ConfigChanged()
	if b := received(t, sock); len(b) != 0 {
		t.Fatalf("sent % x while no ring was started", b)
	}
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.alive() // what is pending goes out after the answer
	if b := received(t, sock); !bytes.Equal(b, configChange) {
		t.Fatalf("sent % x, want % x", b, configChange)
	}
	r.session.ConfigChanged()
	if b := received(t, sock); !bytes.Equal(b, configChange) {
		t.Fatalf("sent % x, want % x", b, configChange)
	}
	r.base(0)
	r.alive()
	r.session.ConfigChanged()
	if b := received(t, sock); len(b) != 0 {
		t.Fatalf("sent % x while suspended", b)
	}
	r.hangUp()
	r.session.ConfigChanged() // and after the end
}

// QEMU answers CONFIG_CHANGE with a GET_CONFIG on the main socket, before anything else.
func TestConfigChangeIsAnsweredByGetConfig(t *testing.T) {
	r, _ := newRing(t)
	sock := r.backendSocket()
	r.readConfig()
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.alive()
	for range 3 {
		r.session.ConfigChanged()
		eventually(t, "CONFIG_CHANGE", func() bool { return bytes.Equal(received(t, sock), configChange) })
		r.readConfig()
	}
	r.hangUp()
}

// readConfig reads the configuration space as QEMU does when it makes its device.
func (r *rig) readConfig() {
	r.Helper()
	if b := r.get(vhostuser.RequestGetConfig, ut.Config(0, 57, 0, make([]byte, 57))); len(b) != 69 {
		r.Fatalf("%d bytes", len(b))
	}
}

// QEMU does not read the configuration space when it reconnects. Whether it changed meanwhile nobody may know: a
// predecessor of this process told it. So it is told once, and no more than once.
func TestConfigChangeForAFrontEndThatHasNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		protocol vhostuser.ProtocolFeatures
		before   func(r *rig)
		want     int
	}{
		"not read":                    {allFeatures, func(*rig) {}, 1},
		"read":                        {allFeatures, (*rig).readConfig, 0},
		"refused":                     {allFeatures, func(r *rig) { r.get(vhostuser.RequestGetConfig, ut.Config(0, 257, 0, nil)) }, 1},
		"not read, changed":           {allFeatures, func(r *rig) { r.session.ConfigChanged() }, 1},
		"changed, then read":          {allFeatures, func(r *rig) { r.session.ConfigChanged(); r.readConfig() }, 1},
		"read, then changed twice":    {allFeatures, func(r *rig) { r.readConfig(); r.session.ConfigChanged(); r.session.ConfigChanged() }, 1},
		"knows no such configuration": {allFeatures &^ vhostuser.ProtocolConfig, func(r *rig) { r.session.ConfigChanged() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vhostuser.Options{})
			r.negotiate(c.protocol)
			r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
			r.addMemory()
			r.configure(0)
			r.configure(1)
			sock := r.backendSocket()
			r.alive()
			c.before(r)
			r.alive()
			if b := received(t, sock); len(b) != 0 {
				t.Fatalf("sent % x while no ring was started", b)
			}
			for range 2 {
				r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
				r.ok(vhostuser.RequestSetVringKick, ut.U64(1), eventfd(t))
				r.base(0)
				r.base(1)
			}
			r.alive()
			if b := received(t, sock); !bytes.Equal(b, bytes.Repeat(configChange, c.want)) {
				t.Fatalf("sent % x, want %d messages", b, c.want)
			}
			r.hangUp()
		})
	}
}

// A front-end that never reads its channel: nobody waits, nothing grows.
func TestConfigChangeNeverBlocks(t *testing.T) {
	r, _ := newRing(t)
	sock := r.backendSocket()
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	for range 10_000 {
		r.session.ConfigChanged()
	}
	r.alive()
	again := r.backendSocket() // replaced
	r.session.ConfigChanged()
	r.alive()
	if b := received(t, again); !bytes.Equal(b, configChange) {
		t.Fatalf("sent % x on the new channel", b)
	}
	if _, err := unix.Read(sock, make([]byte, 1)); err != nil {
		t.Fatalf("the old channel: %v", err)
	}
	r.hangUp()
}

func TestBackendChannelMustBeASocket(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.refused(vhostuser.RequestSetBackendReqFD, nil, eventfd(t))
	r.refused(vhostuser.RequestSetBackendReqFD, nil)
	r.hangUp()
}

func TestFailEndsTheSession(t *testing.T) {
	r, _ := newRing(t)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.session.Fail(errFake)
	r.session.Fail(io.ErrUnexpectedEOF) // too late
	if err := r.wait(); !errors.Is(err, errFake) {
		t.Fatalf("Serve: %v", err)
	}
	if _, err := r.conn.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("front-end sees %v", err)
	}
	r.session.Fail(errFake)
}

func TestFailBeforeServe(t *testing.T) {
	front, back, err := ut.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = front.Close() }()
	s := vhostuser.NewSession(back, newFake(), vhostuser.Options{})
	s.Fail(nil)
	if err := s.Serve(context.Background()); err == nil {
		t.Fatal("Serve succeeded")
	}
}

// The connection must not close before the rings are drained: a front-end that sees the end reads the used index.
func TestDrainedBeforeTheConnectionCloses(t *testing.T) {
	dev := newFake()
	r := newRigWith(t, vhostuser.Options{}, dev)
	r.negotiate(allFeatures)
	r.addMemory()
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	dev.taken()
	r.cancel()
	if _, err := r.conn.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("front-end sees %v", err)
	}
	if !dev.seen("Reset") {
		t.Fatal("the front-end saw the end before the device was drained")
	}
	if err := r.wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Serve: %v", err)
	}
}
