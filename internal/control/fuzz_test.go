package control

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// wire is a connection on which b comes, and then the end.
type wire struct {
	net.Conn
	in io.Reader
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) Write(p []byte) (int, error)      { return len(p), nil }

// FuzzFrames: whatever comes, ttrpc sees whole frames of requests, none longer than it may be, and then the end.
func FuzzFrames(f *testing.F) {
	f.Add(info(f, 1))
	f.Add(append(info(f, 1), frame(frameData, 1, []byte("x"))...))
	f.Add(append(frame(frameRequest, 1, make([]byte, 300)), info(f, 3)...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(frame(frameRequest, 1, make([]byte, 40))[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		limits := Limits{Frame: 256, CallsPerClient: 1 << 30}.withDefaults()
		g := newGuard(&wire{in: bytes.NewReader(b)}, &limits, func(string, error) {})
		passed, err := io.ReadAll(g)
		if err != nil {
			t.Fatalf("an error that ttrpc would not end on: %v", err)
		}
		frames := 0
		for ; len(passed) >= frameHead; frames++ {
			length := int(binary.BigEndian.Uint32(passed))
			if length > limits.Frame || passed[8] != frameRequest {
				t.Fatalf("a frame of type %d with %d bytes came through", passed[8], length)
			}
			passed = passed[frameHead:]
			if len(passed) < length {
				passed = nil // cut by the end
				continue
			}
			passed = passed[length:]
		}
		if len(passed) > 0 || frames != g.frames {
			t.Fatalf("%d bytes of a head were left, %d frames were counted, %d came", len(passed), g.frames, frames)
		}
		// Answers, however they are cut, end exactly that many.
		rest := bytes.Repeat(frame(frameResponse, 1, []byte("answer")), frames)
		for n := 1; len(rest) > 0; n = n%7 + 1 {
			n = min(n, len(rest))
			if _, err := g.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if g.frames != 0 {
			t.Fatalf("%d requests are counted as without an answer", g.frames)
		}
	})
}

// FuzzDefinition: a Definition that is accepted comes back as it was, with its defaults, and again the same.
func FuzzDefinition(f *testing.F) {
	for _, d := range []*vublkv1.Definition{
		definition("vm"),
		{SocketPath: "/s", BlkFile: "/f", Direct: proto.Bool(false), LockTimeoutNs: proto.Int64(0), Cache: "writethrough", FlushError: "retry"},
		{Connect: "/s", Store: "mem:1MiB", NumQueues: proto.Uint32(7), LogicalBlockSize: proto.Uint32(4096), PhysicalBlockSize: proto.Uint32(8192), Serial: "x"},
	} {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p vublkv1.Definition
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		d, err := definitionOf(&p)
		if err != nil {
			if s := statusOf(t.Context(), err); s == nil || bytes.ContainsAny([]byte(s.Error()), "\r\n") {
				t.Fatalf("%q", s)
			}
			return
		}
		if d.Validate() != nil {
			return
		}
		again, err := definitionOf(ProtoOf(&d))
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v became %+v: %v", d, again, err)
		}
	})
}
