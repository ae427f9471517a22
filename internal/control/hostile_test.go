package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// frame is one of ttrpc.
func frame(kind byte, stream uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, kind, 0), body...)
}

// request is a frame that calls service.method.
func request(t testing.TB, stream uint32, service, method string, body []byte) []byte {
	t.Helper()
	b, err := proto.Marshal(&ttrpc.Request{Service: service, Method: method, Payload: body})
	if err != nil {
		t.Fatal(err)
	}
	return frame(frameRequest, stream, b)
}

func info(t testing.TB, stream uint32) []byte {
	return request(t, stream, "vublk.v1.Observe", "Info", nil)
}

// answer reads a frame, and its status.
func answer(t *testing.T, r io.Reader) (stream uint32, s *status.Status) {
	t.Helper()
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	var response ttrpc.Response
	if err := proto.Unmarshal(body, &response); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint32(head[4:]), status.FromProto(response.GetStatus())
}

func send(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

// ended fails the test unless the server closes conn, and soon.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection did not end: %v", err)
	}
}

// TestWrongFrames: what each gets that is not what a client of ours sends. The server answers others before and after.
func TestWrongFrames(t *testing.T) {
	usual, hasty := newRig(t, Limits{}), newRig(t, Limits{FrameTime: 200 * time.Millisecond})
	long := make([]byte, 1<<20+1)
	for _, c := range []struct {
		name  string
		sent  []byte
		code  codes.Code // of the answer; OK: of the Info that follows
		says  string
		stays bool // the connection goes on
	}{
		{"garbage that begins like a frame", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0, "", false},
		{"half a head", []byte{0, 0, 0, 9, 0}, 0, "", false},
		{"half a body", frame(frameRequest, 1, make([]byte, 100))[:50], 0, "", false},
		{"an absurd length", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0}, 0, "", false},
		{"over-long", frame(frameRequest, 1, long), codes.InvalidArgument, "longer than 1 MiB", true},
		{"as long as it may be", request(t, 1, "vublk.v1.Observe", "Info", long[:1<<20-100]), codes.InvalidArgument, "made with another vublk.proto", true},
		{"longer than ttrpc takes", frame(frameRequest, 1, make([]byte, 5<<20)), codes.InvalidArgument, "longer than 1 MiB", true},
		{"empty", frame(frameRequest, 1, nil), codes.InvalidArgument, "empty", true},
		{"no message", frame(frameRequest, 1, []byte{0xff, 0xff, 0xff}), codes.InvalidArgument, "unmarshal", true},
		{"unknown service", request(t, 1, "vublk.v2.Exports", "Get", nil), codes.Unimplemented, "vublk.v2.Exports", true},
		{"unknown method", request(t, 1, "vublk.v1.Exports", "Frobnicate", nil), codes.Unimplemented, "Frobnicate", true},
		{"wrong message", request(t, 1, "vublk.v1.Exports", "Get", []byte{0x0a, 0xff}), codes.InvalidArgument, "/vublk.v1.Exports/Get", true},
		{"no UTF-8", request(t, 1, "vublk.v1.Exports", "Get", []byte{0x0a, 1, 0xff}), codes.InvalidArgument, "UTF-8", true},
		{"even stream", request(t, 2, "vublk.v1.Observe", "Info", nil), codes.InvalidArgument, "odd", true},
		{"unknown field", request(t, 1, "vublk.v1.Exports", "Get", unknownField()), codes.NotFound, `"vm"`, true},
		{"data for nothing", frame(frameData, 1, []byte("x")), 0, "", true},
		{"an answer", frame(frameResponse, 1, []byte("x")), 0, "", true},
		{"an unknown type", frame(77, 1, []byte("x")), 0, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := usual
			if strings.HasPrefix(c.name, "half") {
				r = hasty
			}
			conn := r.dial(t)
			send(t, conn, c.sent)
			switch {
			case !c.stays:
				ended(t, conn)
			case c.code != 0:
				if _, s := answer(t, conn); s.Code() != c.code || !strings.Contains(s.Message(), c.says) {
					t.Errorf("answer %v, want %v with %q", s, c.code, c.says)
				}
				fallthrough
			default:
				send(t, conn, info(t, 3))
				if stream, s := answer(t, conn); stream != 3 || s.Code() != codes.OK {
					t.Errorf("afterwards: stream %d, %v", stream, s)
				}
			}
			r.works(t)
		})
	}
}

// unknownField is a GetRequest of a newer .proto.
func unknownField() []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "vm")
	b = protowire.AppendVarint(protowire.AppendTag(b, 99, protowire.VarintType), 1)
	return protowire.AppendBytes(protowire.AppendTag(b, 100, protowire.BytesType), make([]byte, 1000))
}

// TestDataForACall: a data frame for a call that is no stream makes ttrpc dereference nil, and the process end.
func TestDataForACall(t *testing.T) {
	r := newRig(t, Limits{})
	r.hold = true
	conn := r.dial(t)
	body, err := proto.Marshal(&vublkv1.DrainRequest{Name: "vm"})
	if err != nil {
		t.Fatal(err)
	}
	send(t, conn, request(t, 1, "vublk.v1.Exports", "Drain", body))
	<-r.held
	send(t, conn, frame(frameData, 1, []byte("x")))
	send(t, conn, info(t, 3))
	if stream, s := answer(t, conn); stream != 3 || s.Code() != codes.OK {
		t.Errorf("afterwards: stream %d, %v", stream, s)
	}
	r.works(t)
}

// memory is the heap, after what is garbage has gone.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestFlood: a client sends calls as fast as it can and reads nothing. What it costs is bounded.
func TestFlood(t *testing.T) {
	r := newRig(t, Limits{})
	goroutines, heap := runtime.NumGoroutine(), memory()
	const clients = 4
	sent := make(chan int, clients)
	for range clients {
		conn := r.dial(t)
		go func() {
			n := 0
			w := bufio.NewWriter(conn)
			for ; n < 200000; n++ { // until the socket is full and nobody reads
				_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := w.Write(request(t, uint32(2*n+1), "vublk.v1.Exports", "List", nil)); err != nil {
					break
				}
			}
			sent <- n
		}()
	}
	total := 0
	for range clients {
		total += <-sent
	}
	grown, more := runtime.NumGoroutine()-goroutines, int64(memory())-int64(heap)
	t.Logf("%d clients sent %d calls and read nothing: %d goroutines, %d KiB", clients, total, grown, more>>10)
	limit := clients * (64 + waiting + 6)
	if grown > limit || more > 8<<20 {
		t.Errorf("more than %d goroutines or 8 MiB", limit)
	}
	r.works(t)
}

// TestTooManyCalls: what is one too many is refused, and the rest goes on.
func TestTooManyCalls(t *testing.T) {
	r := newRig(t, Limits{CallsPerClient: 8})
	r.hold = true
	c := r.client(t)
	answers := make(chan error, 20)
	for range 20 {
		go func() {
			_, err := vublkv1.NewExportsClient(c).Drain(context.Background(), &vublkv1.DrainRequest{Name: "vm"})
			answers <- err
		}()
	}
	for range 8 {
		<-r.held
	}
	for range 12 {
		if err := <-answers; status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "8 calls") {
			t.Errorf("%v", err)
		}
	}
	if n := r.atMost(); n != 8 {
		t.Errorf("%d calls ran at a time", n)
	}
	r.works(t)
	_ = c.Close()
	for range 8 {
		if err := <-answers; err == nil {
			t.Error("a call ended well although its connection was closed")
		}
		if err := <-r.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a context ended with %v", err)
		}
	}
}

// TestTooManyCallsOfAll: many connections together get no more than all may have.
func TestTooManyCallsOfAll(t *testing.T) {
	r := newRig(t, Limits{Calls: 10, CallsPerClient: 4})
	r.hold = true
	refused := 0
	answers := make(chan error, 40)
	for range 10 {
		c := r.exportsClient(t)
		for range 4 {
			go func() {
				_, err := c.Drain(context.Background(), &vublkv1.DrainRequest{Name: "vm"})
				answers <- err
			}()
		}
	}
	for range 30 {
		if err := <-answers; status.Code(err) == codes.ResourceExhausted {
			refused++
		}
	}
	for range 10 { // who is refused may hear of it before the others are with the daemon
		<-r.held
	}
	if n := r.atMost(); refused != 30 || n != 10 {
		t.Errorf("%d refused, %d ran", refused, n)
	}
}

// TestTooManyStreams: those that are too many are refused, also those of other connections.
func TestTooManyStreams(t *testing.T) {
	r := newRig(t, Limits{Streams: 6, StreamsPerClient: 4})
	open := func(c vublkv1.ObserveClient) error {
		s, err := c.Events(t.Context(), &vublkv1.EventsRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	first, second := r.observeClient(t), r.observeClient(t)
	for i, c := range []vublkv1.ObserveClient{first, first, first, first, first, second, second, second} {
		err := open(c)
		if full := i == 4 || i == 7; full != (status.Code(err) == codes.ResourceExhausted) || !full && err != nil {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	r.works(t)
}
