package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// What a step attaches.
const (
	noFD = iota
	eventFD
	memoryFD
	socketFD
)

// step is one message of a real front-end, and what it must cause.
type step struct {
	req     vhostuser.Request
	flags   uint32
	payload []byte
	fd      int
	reply   []byte   // payload of the answer, nil: none
	calls   []string // of the device
}

// play sends the steps and compares answers byte by byte, and the device's calls whenever an answer shows that
// everything before has been handled.
func (r *rig) play(steps []step, fds map[int]int) {
	r.Helper()
	r.dev.taken()
	var calls []string
	for n, s := range steps {
		m := ut.Message{Request: s.req, Flags: s.flags, Payload: s.payload}
		if s.fd != noFD {
			m.FDs = []int{fds[s.fd]}
		}
		if err := r.conn.Send(m); err != nil {
			r.Fatalf("step %d, %v: %v", n, s.req, err)
		}
		calls = append(calls, s.calls...)
		if s.reply == nil {
			continue
		}
		got, err := r.conn.Recv()
		if err != nil {
			r.Fatalf("step %d, %v: %v", n, s.req, err)
		}
		if want := wire(s.req, s.reply); !bytes.Equal(got.Bytes(), want) || len(got.FDs) != 0 {
			r.Fatalf("step %d, %v: answer\n% x, want\n% x", n, s.req, got.Bytes(), want)
		}
		if made := r.dev.taken(); !slices.Equal(made, calls) {
			r.Fatalf("step %d, %v: device calls\n%q, want\n%q", n, s.req, made, calls)
		}
		calls = nil
	}
}

// wire is an answer as QEMU wants it: flags exactly 5.
func wire(req vhostuser.Request, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(req))
	b = binary.LittleEndian.AppendUint32(b, 5)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// zeros pads a configuration space of the fake device to n bytes.
func fakeConfig(n int) []byte {
	b := make([]byte, n)
	newFake().ReadConfig(b, 0)
	return b
}

// The steps of QEMU 11.1.3 in the appendix of the protocol page, against what we offer: RESET_DEVICE, too, which QEMU
// then sends at every virtio reset.
const (
	seaBIOS       = 0x140000044
	seaBIOSDevice = "SetFeatures 0x100000044"
	traceStart    = "StartQueue 0 size=128 enabled=false kick=true features=0x100000044"
	traceMemory   = "SetMemory [gpa=0 size=10000000 uva=7fe42ffff000 off=0]"
)

var (
	acked        = ut.U64(0)
	ourFeatures  = ut.U64(fakeFeatures | 1<<30 | 1<<26)
	traceConnect = []step{
		{req: vhostuser.RequestGetFeatures, flags: 1, reply: ourFeatures},
		{req: vhostuser.RequestGetProtocolFeatures, flags: 1, reply: ut.U64(0xb22b)},
		{req: vhostuser.RequestSetProtocolFeatures, flags: 1, payload: ut.U64(0xb22b)},
		{req: vhostuser.RequestGetQueueNum, flags: 1, reply: ut.U64(256)},
		{req: vhostuser.RequestGetMaxMemSlots, flags: 1, reply: ut.U64(509)},
		{req: vhostuser.RequestSetBackendReqFD, flags: 9, fd: socketFD, reply: acked},
		{req: vhostuser.RequestSetOwner, flags: 1},
		{req: vhostuser.RequestGetFeatures, flags: 1, reply: ourFeatures},
		{req: vhostuser.RequestSetVringCall, flags: 9, payload: ut.U64(0), fd: eventFD, reply: acked},
		{req: vhostuser.RequestSetVringErr, flags: 9, payload: ut.U64(0), fd: eventFD, reply: acked},
	}
	traceRealize = []step{
		{
			req: vhostuser.RequestGetConfig, flags: 1, payload: ut.Config(0, 57, 0, make([]byte, 57)),
			reply: ut.Config(0, 57, 0, fakeConfig(57)),
		},
		{req: vhostuser.RequestResetDevice, flags: 1, calls: []string{"Reset"}},
		{req: vhostuser.RequestResetDevice, flags: 9, reply: acked, calls: []string{"Reset"}},
	}
	traceFeatures = []step{
		{req: vhostuser.RequestSetFeatures, flags: 1, payload: ut.U64(seaBIOS), calls: []string{seaBIOSDevice}},
		{req: vhostuser.RequestSetVringCall, flags: 9, payload: ut.U64(0), fd: eventFD, reply: acked},
		{req: vhostuser.RequestSetFeatures, flags: 1, payload: ut.U64(seaBIOS), calls: []string{seaBIOSDevice}},
	}
	traceAddMemory = []step{{
		req: vhostuser.RequestAddMemReg, flags: 9, payload: ut.MemReg(traceRegion), fd: memoryFD, reply: acked,
		calls: []string{traceMemory},
	}}
	traceRing = []step{
		{req: vhostuser.RequestSetVringNum, flags: 1, payload: ut.VringState(0, 128)},
		{req: vhostuser.RequestSetVringBase, flags: 1, payload: ut.VringState(0, 0)},
		{req: vhostuser.RequestSetVringAddr, flags: 1, payload: traceAddr},
		{
			req: vhostuser.RequestSetVringKick, flags: 9, payload: ut.U64(0), fd: eventFD, reply: acked,
			calls: []string{traceStart},
		},
		{
			req: vhostuser.RequestSetVringEnable, flags: 9, payload: ut.VringState(0, 1), reply: acked,
			calls: []string{"UpdateQueue 0 enabled=true"},
		},
	}
	traceStop = []step{
		{
			req: vhostuser.RequestSetVringEnable, flags: 9, payload: ut.VringState(0, 0), reply: acked,
			calls: []string{"UpdateQueue 0 enabled=false"},
		},
		{
			req: vhostuser.RequestGetVringBase, flags: 1, payload: ut.VringState(0, 0), reply: ut.VringState(0, 0),
			calls: []string{"StopQueue 0 base=0x0"},
		},
	}
	// QEMU resets the device at machine reset, up to three times, with and without a started ring.
	traceReset = []step{
		{req: vhostuser.RequestResetDevice, flags: 1, calls: []string{"Reset"}},
		{req: vhostuser.RequestResetDevice, flags: 1, calls: []string{"Reset"}},
	}
)

func traceFDs(t *testing.T) map[int]int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	return map[int]int{eventFD: eventfd(t), memoryFD: memfd(t, traceSize), socketFD: pair[0]}
}

func TestTraceOfQEMU(t *testing.T) {
	t.Run("start, stop, cont, reset, quit", func(t *testing.T) {
		r := newRig(t, vhostuser.Options{Trace: true})
		fds := traceFDs(t)
		r.play(slices.Concat(traceConnect, traceRealize), fds)
		r.play(slices.Concat(traceFeatures, traceAddMemory, traceRing), fds)
		r.play(slices.Concat(traceStop, traceFeatures, traceRing), fds) // stop, cont: no memory again
		r.play(slices.Concat(traceStop, traceReset, traceFeatures, traceRing), fds)
		r.play(traceStop, fds)
		r.hangUp()
		if got, want := r.dev.taken(), []string{"Reset", "SetMemory"}; !slices.Equal(got, want) {
			t.Fatalf("at the end %q, want %q", got, want)
		}
	})
	t.Run("killed with running rings, reconnect without GET_CONFIG", func(t *testing.T) {
		fds := traceFDs(t)
		for range 2 {
			r := newRig(t, vhostuser.Options{})
			r.play(slices.Concat(traceConnect, traceFeatures, traceAddMemory, traceRing), fds)
			r.hangUp()
		}
	})
}

// A literal, so that the rest of the file cannot err together with the code that it shares with.
func TestAnswersAreTheseBytes(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	for _, c := range []struct{ send, want []byte }{
		{
			[]byte{15, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
			[]byte{15, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 0x2b, 0xb2, 0, 0, 0, 0, 0, 0},
		},
		{
			[]byte{16, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0x2b, 0xb2, 0, 0, 0, 0, 0, 0},
			nil,
		},
		{
			[]byte{3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0},
			[]byte{3, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		},
		{
			[]byte{11, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
			[]byte{11, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
		},
		{
			[]byte{24, 0, 0, 0, 1, 0, 0, 0, 14, 0, 0, 0, 59, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 9},
			[]byte{24, 0, 0, 0, 5, 0, 0, 0, 14, 0, 0, 0, 59, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 60, 0},
		},
		{
			[]byte{99, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0},
			[]byte{99, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
		},
	} {
		if err := r.conn.SendRaw(c.send); err != nil {
			t.Fatal(err)
		}
		if c.want == nil {
			continue
		}
		m, err := r.conn.Recv()
		if err != nil || !bytes.Equal(m.Bytes(), c.want) {
			t.Fatalf("% x: answer % x, %v; want % x", c.send, m.Bytes(), err, c.want)
		}
	}
	r.hangUp()
}

// SPDK's initiator negotiates MQ and CONFIG only, enables before it shares memory, shares memory again and again, asks
// for 256 bytes of configuration and uses its own addresses as the guest's.
func TestTraceOfSPDK(t *testing.T) {
	r := newRig(t, vhostuser.Options{Queues: 4})
	fds := traceFDs(t)
	region := traceRegion
	region.GPA = 0x7fe42ffff000
	memory := "SetMemory [gpa=7fe42ffff000 size=10000000 uva=7fe42ffff000 off=0]"
	setMemory := step{
		req: vhostuser.RequestSetMemTable, flags: 1, payload: ut.MemTable(region), fd: memoryFD, calls: []string{memory},
	}
	r.play([]step{
		{req: vhostuser.RequestSetOwner, flags: 1},
		{req: vhostuser.RequestGetFeatures, flags: 1, reply: ourFeatures},
		{req: vhostuser.RequestGetProtocolFeatures, flags: 1, reply: ut.U64(0xb22b)},
		{req: vhostuser.RequestSetProtocolFeatures, flags: 1, payload: ut.U64(0x201)},
		{req: vhostuser.RequestGetQueueNum, flags: 1, reply: ut.U64(4)},
		{
			req: vhostuser.RequestGetConfig, flags: 1, payload: ut.Config(0, 256, 0, make([]byte, 256)),
			reply: ut.Config(0, 256, 0, fakeConfig(256)),
		},
		{
			req: vhostuser.RequestSetFeatures, flags: 1, payload: ut.U64(1<<32 | 1<<30 | 1<<29),
			calls: []string{"SetFeatures 0x120000000"},
		},
		{req: vhostuser.RequestSetVringEnable, flags: 1, payload: ut.VringState(0, 1)},
		setMemory,
		setMemory,
		{req: vhostuser.RequestSetVringCall, flags: 1, payload: ut.U64(0), fd: eventFD},
		{req: vhostuser.RequestSetVringNum, flags: 1, payload: ut.VringState(0, 128)},
		{req: vhostuser.RequestSetVringBase, flags: 1, payload: ut.VringState(0, 0)},
		{req: vhostuser.RequestSetVringAddr, flags: 1, payload: traceAddr},
		{
			req: vhostuser.RequestSetVringKick, flags: 1, payload: ut.U64(0), fd: eventFD,
			calls: []string{"StartQueue 0 size=128 enabled=true kick=true features=0x120000000"},
		},
		setMemory,
		{
			req: vhostuser.RequestSetVringEnable, flags: 1, payload: ut.VringState(0, 1),
			calls: []string{"UpdateQueue 0 enabled=true"},
		},
		{
			req: vhostuser.RequestGetVringBase, flags: 1, payload: ut.VringState(0, 0), reply: ut.VringState(0, 0),
			calls: []string{"StopQueue 0 base=0x0"},
		},
	}, fds)
	r.hangUp()
}

// libblkio refuses a back-end without these.
func TestOfferForLibblkio(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	got := vhostuser.ProtocolFeatures(r.getU64(vhostuser.RequestGetProtocolFeatures))
	need := vhostuser.ProtocolConfig | vhostuser.ProtocolReplyAck | vhostuser.ProtocolMQ |
		vhostuser.ProtocolConfigureMemSlots
	if !got.Has(need) {
		t.Fatalf("offered %v, libblkio needs %v", got, need)
	}
	if got != allFeatures {
		t.Fatalf("offered %#x, want %#x", uint64(got), uint64(allFeatures))
	}
	r.hangUp()
}
