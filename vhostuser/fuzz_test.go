package vhostuser_test

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// A fuzz input is a list of messages: id, flags, descriptor choice, length, bytes. Choices are one byte each so that
// the fuzzer finds real messages quickly; the payload is as long as there is input.
const (
	fuzzMessages = 64
	fuzzHead     = 4
)

// descriptors that a fuzz input can choose from: memory of two sizes, an eventfd, a socket, a pipe.
func fuzzPool(tb testing.TB) []int {
	tb.Helper()
	var pool []int
	for _, size := range []int64{1 << 20, 0x3000} {
		m, err := sys.Memfd("fuzz", size)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = m.Close() })
		pool = append(pool, m.Int())
	}
	pool = append(pool, eventfd(tb))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, fd := range []int{pair[0], pair[1], pipe[0], pipe[1]} {
			_ = unix.Close(fd)
		}
	})
	return append(pool, pair[0], pipe[1])
}

// fuzzMessage takes the next message off in.
func fuzzMessage(in []byte, pool []int) (ut.Message, []byte) {
	m := ut.Message{Request: vhostuser.Request(in[0]), Flags: uint32(in[1])}
	if m.Flags&0xf0 == 0 { // mostly well-formed
		m.Flags = m.Flags&ut.FlagNeedReply | ut.FlagVersion
	}
	// Low 4 bits: how many, high 4 bits: where in the pool to begin.
	for i := range int(in[2] & 0xf) {
		m.FDs = append(m.FDs, pool[(int(in[2]>>4)+i)%len(pool)])
	}
	n := min(int(in[3]), len(in)-fuzzHead)
	m.Payload = in[fuzzHead : fuzzHead+n]
	return m, in[fuzzHead+n:]
}

// seed encodes messages for the corpus.
func seed(steps ...ut.Message) []byte {
	var b []byte
	for _, m := range steps {
		var fds byte
		if len(m.FDs) > 0 {
			fds = byte(m.FDs[0])<<4 | 1
		}
		b = append(b, byte(m.Request), byte(m.Flags), fds, byte(len(m.Payload)))
		b = append(b, m.Payload...)
	}
	return b
}

func fuzzSeeds() [][]byte {
	region := traceRegion
	region.Size = 1 << 20
	const memory, event, socket = 0, 2, 3
	msg := func(req vhostuser.Request, payload []byte, fds ...int) ut.Message {
		return ut.Message{Request: req, Flags: 8, Payload: payload, FDs: fds}
	}
	begin := []ut.Message{
		msg(vhostuser.RequestSetProtocolFeatures, ut.U64(uint64(allFeatures))),
		msg(vhostuser.RequestSetBackendReqFD, nil, socket),
		msg(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30)),
		msg(vhostuser.RequestAddMemReg, ut.MemReg(region), memory),
		msg(vhostuser.RequestSetVringCall, ut.U64(0), event),
		msg(vhostuser.RequestSetVringNum, ut.VringState(0, 128)),
		msg(vhostuser.RequestSetVringBase, ut.VringState(0, 0)),
		msg(vhostuser.RequestSetVringAddr, ringAddr(0)),
		msg(vhostuser.RequestSetVringKick, ut.U64(0), event),
		msg(vhostuser.RequestSetVringEnable, ut.VringState(0, 1)),
	}
	return [][]byte{
		seed(begin...),
		seed(append(begin, msg(vhostuser.RequestSetMemTable, ut.MemTable(region), memory),
			msg(vhostuser.RequestGetVringBase, ut.VringState(0, 0)),
			msg(vhostuser.RequestSetVringKick, ut.U64(0), event))...),
		seed(append(begin, msg(vhostuser.RequestResetDevice, nil),
			msg(vhostuser.RequestRemMemReg, ut.MemReg(region)),
			msg(vhostuser.RequestGetConfig, ut.Config(0, 57, 0, make([]byte, 57))),
			msg(vhostuser.RequestSetConfig, ut.Config(32, 1, 0, []byte{1})))...),
		seed(append(begin, msg(vhostuser.RequestSetVringKick, ut.U64(ut.NoFD)), msg(vhostuser.RequestGetQueueNum, nil),
			msg(vhostuser.RequestGetMaxMemSlots, nil), msg(200, nil))...),
		seed(append(begin, ut.Message{Request: vhostuser.RequestSetLogBase, Payload: ut.LogBase(4096, 1), FDs: []int{memory}},
			msg(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30|1<<26)),
			msg(vhostuser.RequestSetVringAddr, loggedAddr(0, 0x1000)),
			msg(vhostuser.RequestGetVringBase, ut.VringState(0, 0)))...),
	}
}

// FuzzSession plays any messages to a session with a real socket and real memory. It must not panic, hang, or keep a
// descriptor.
func FuzzSession(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, tail bool) {
		pool := fuzzPool(t)
		before := descriptors(t)
		front, back, err := ut.Pair()
		if err != nil {
			t.Fatal(err)
		}
		dev := newFake()
		s := vhostuser.NewSession(back, dev, vhostuser.Options{Queues: 8, MemSlots: 4, Trace: true})
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(context.Background()) }()
		for range fuzzMessages {
			if len(in) < fuzzHead {
				break
			}
			var m ut.Message
			if m, in = fuzzMessage(in, pool); front.Send(m) != nil {
				break // the session has ended
			}
			s.ConfigChanged()
		}
		if tail && len(in) > 0 { // anything at all, to end with
			_ = front.SendRaw(in, pool[0], pool[1])
		}
		_ = front.CloseWrite()
		select {
		case err := <-ended: // any: most inputs break the protocol
			_ = err
		case <-time.After(patience):
			t.Fatal("Serve does not return")
		}
		_ = front.Close()
		dev.checkDown(t)
		if after := descriptors(t); after != before {
			t.Fatalf("%d descriptors before, %d after", before, after)
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
