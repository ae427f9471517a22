package vhostusertest_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// serve runs an echo back-end on one end of a pair and returns the other end and the session. gone waits until it has
// ended.
func serve(t *testing.T) (c *vhostusertest.Conn, s *vhostuser.Session, gone func()) {
	t.Helper()
	front, back, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	s = vhostuser.NewSession(back, newEcho(), vhostuser.Options{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(context.Background()); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	gone = func() { <-ended }
	t.Cleanup(func() {
		_ = front.Close()
		gone()
	})
	return front, s, gone
}

func connect(t *testing.T, o vhostusertest.Options) (*vhostusertest.Frontend, *vhostuser.Session) {
	t.Helper()
	c, s, _ := serve(t)
	f, err := vhostusertest.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, s
}

// traffic is a buffer pair in the guest.
type traffic struct {
	m       *virtiotest.Memory
	in, out virtiotest.Area
}

func newTraffic(t *testing.T, m *virtiotest.Memory) traffic {
	t.Helper()
	var areas [2]virtiotest.Area
	for i := range areas {
		gpa, err := m.Alloc(512, 1)
		if err != nil {
			t.Fatal(err)
		}
		areas[i] = virtiotest.Area{GPA: gpa, Len: 512}
	}
	return traffic{m: m, out: areas[0], in: areas[1]}
}

// send makes one request available and kicks.
func (x traffic) send(t *testing.T, d *virtiotest.Driver, round int) []byte {
	t.Helper()
	want := bytes.Repeat([]byte(fmt.Sprintf("%08x", round)), 64)
	x.m.Write(x.out.GPA, want)
	if _, err := d.Add(virtiotest.Request{Readable: []virtiotest.Area{x.out}, Writable: []virtiotest.Area{x.in}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(); err != nil {
		t.Fatal(err)
	}
	return want
}

// receive waits for its completion and checks the content.
func (x traffic) receive(t *testing.T, d *virtiotest.Driver, want []byte) {
	t.Helper()
	for {
		done, ok, err := d.Reap()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			got := make([]byte, 512)
			if x.m.Read(x.in.GPA, got); done.Len != 512 || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes back, % x", done.Len, got[:16])
			}
			return
		}
		if d.EnableCalls() {
			continue
		}
		if called, err := d.WaitCall(vhostusertest.Timeout); err != nil || !called {
			t.Fatalf("no call: %v", err)
		}
	}
}

func (x traffic) rounds(t *testing.T, d *virtiotest.Driver, n int) {
	t.Helper()
	for i := range n {
		x.receive(t, d, x.send(t, d, i))
	}
}

func TestTraffic(t *testing.T) {
	for name, o := range map[string]vhostusertest.Options{
		"split":                 {},
		"packed":                {Packed: true, QueueSize: 100},
		"4 queues":              {Queues: 4, QueueSize: 16},
		"256 queues":            {Queues: 256, QueueSize: 2},
		"plain notification":    {Decline: virtio.FeatureEventIdx | virtio.FeatureIndirectDesc},
		"without acks":          {DeclineProtocol: vhostuser.ProtocolReplyAck},
		"SPDK's features":       {DeclineProtocol: ^(vhostuser.ProtocolMQ | vhostuser.ProtocolConfig)},
		"without protocol bits": {DeclineProtocol: ^vhostuser.ProtocolFeatures(0)},
		"two regions": {Memory: []guestmem.RegionInfo{
			{GPA: 0, Size: 1 << 20, UserAddr: 0x7f00_0000_0000},
			{GPA: 1 << 32, Size: 1 << 20, UserAddr: 0x7e00_0000_0000, Offset: 0x3000},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := connect(t, o)
			x := newTraffic(t, f.Memory())
			for range 3 {
				if err := f.Start(); err != nil {
					t.Fatal(err)
				}
				for i := range max(o.Queues, 1) {
					x.rounds(t, f.Queue(i), 10)
				}
				if err := f.Stop(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A request that was made available while nobody could fetch it is found without a kick.
func TestRequestsFromBeforeTheStart(t *testing.T) {
	for _, packed := range []bool{false, true} {
		f, _ := connect(t, vhostusertest.Options{Packed: packed})
		x, d := newTraffic(t, f.Memory()), f.Queue(0)
		want := x.send(t, d, 1)
		if _, err := d.WaitKick(vhostusertest.Timeout); err != nil { // read by a predecessor that died
			t.Fatal(err)
		}
		if err := f.StartQueue(0); err != nil {
			t.Fatal(err)
		}
		if called, err := d.WaitCall(0); err != nil || !called {
			t.Fatalf("not called at the start: %v", err)
		}
		if _, ok, err := d.Reap(); ok || err != nil {
			t.Fatalf("completed before SET_VRING_ENABLE: %v", err)
		}
		if err := f.EnableQueue(0, true); err != nil {
			t.Fatal(err)
		}
		x.receive(t, d, want)
	}
}

func TestResetBetweenBoots(t *testing.T) {
	f, _ := connect(t, vhostusertest.Options{Packed: true})
	x := newTraffic(t, f.Memory())
	for range 3 {
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		x.rounds(t, f.Queue(0), 5)
		if err := f.Reset(); err != nil {
			t.Fatal(err)
		}
		if f.Started(0) {
			t.Fatal("started after a reset")
		}
	}
}

func TestMemoryHotplugUnderTraffic(t *testing.T) {
	f, _ := connect(t, vhostusertest.Options{})
	x := newTraffic(t, f.Memory())
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := sys.Memfd("dimm", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.Close() }()
	dimm := guestmem.RegionInfo{GPA: 1 << 40, Size: 1 << 20, UserAddr: 0x6000_0000_0000}
	for i := range 50 {
		want := x.send(t, f.Queue(0), i)
		if err := f.AddMemory(dimm, fd.Int()); err != nil {
			t.Fatal(err)
		}
		x.receive(t, f.Queue(0), want)
		want = x.send(t, f.Queue(0), i)
		if err := f.RemoveMemory(dimm); err != nil {
			t.Fatal(err)
		}
		x.receive(t, f.Queue(0), want)
	}
}

func TestReconnect(t *testing.T) {
	c, _, gone := serve(t)
	f, err := vhostusertest.New(c, vhostusertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	x := newTraffic(t, f.Memory())
	for round := range 3 {
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		x.rounds(t, f.Queue(0), 5)
		if err := f.Disconnect(); err != nil {
			t.Fatal(err)
		}
		gone() // else there are two devices for one ring
		c, _, gone = serve(t)
		if err := f.Reconnect(c); err != nil {
			t.Fatal(err)
		}
		// All came back before the connection ended: the used index is the base, as QEMU computes it.
		f.SetBase(0, virtio.Base(5*(round+1)))
	}
}

func TestConfiguration(t *testing.T) {
	f, s := connect(t, vhostusertest.Options{})
	if err := f.SetConfig(3, []byte{7}); err != nil {
		t.Fatal(err)
	}
	b, err := f.Config(0, 256)
	if err != nil || b[3] != 7 || len(b) != 256 {
		t.Fatalf("% x, %v", b, err)
	}
	if err := f.SetConfig(16, []byte{7}); err == nil {
		t.Fatal("written past the end")
	}
	s.ConfigChanged()
	if _, ok, err := f.BackendMessage(10 * time.Millisecond); ok || err != nil {
		t.Fatalf("CONFIG_CHANGE before the start: %v", err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	if m, ok, err := f.BackendMessage(vhostusertest.Timeout); !ok || err != nil || m.Request != 2 {
		t.Fatalf("%v, %v; want CONFIG_CHANGE", m, err)
	}
}

func TestConnectToAListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := vhostuser.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ended := make(chan error, 1)
	go func() {
		c, err := l.AcceptUnix()
		if err == nil {
			err = vhostuser.NewSession(c, newEcho(), vhostuser.Options{Queues: 2}).Serve(context.Background())
		}
		ended <- err
	}()
	f, err := vhostusertest.Connect(path, vhostusertest.Options{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	newTraffic(t, f.Memory()).rounds(t, f.Queue(1), 3)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestWhatCannotBeNegotiated(t *testing.T) {
	c, _, _ := serve(t)
	if _, err := vhostusertest.New(c, vhostusertest.Options{Queues: 257}); err == nil {
		t.Fatal("257 queues")
	}
	c, _, _ = serve(t)
	if _, err := vhostusertest.New(c, vhostusertest.Options{Packed: true, Decline: virtio.FeatureRingPacked}); err == nil {
		t.Fatal("packed rings that were declined")
	}
	if _, err := vhostusertest.Connect(filepath.Join(t.TempDir(), "none"), vhostusertest.Options{}); err == nil {
		t.Fatal("connected to nothing")
	}
}
