package control

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	vublkv1 "github.com/vublk/vublk/api/v1"
)

// TestSlowReaderOfEvents: one that reads nothing misses events, is told so, and delays nobody.
func TestSlowReaderOfEvents(t *testing.T) {
	r := newRig(t, Limits{})
	conn := r.dial(t)
	send(t, conn, request(t, 1, "vublk.v1.Observe", "Events", nil))
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil { // it has begun
		t.Fatal(err)
	}
	e := Event{Name: "vm", Kind: EventError, Message: strings.Repeat("x", 1000)}
	n := 0
	for ; r.send(e) > 0; n++ {
		if n > 100000 {
			t.Fatal("a subscriber that does not read is never cut off")
		}
	}
	got := -1 // the beginning
	for {
		var head [frameHead]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			t.Fatalf("the stream ended without a word after %d of %d events: %v", got, n, err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(in, body); err != nil {
			t.Fatal(err)
		}
		if head[8] == frameResponse {
			var response ttrpc.Response
			if err := proto.Unmarshal(body, &response); err != nil || codes.Code(response.GetStatus().GetCode()) != codes.Unavailable {
				t.Errorf("the end: %v, %v", response.GetStatus(), err)
			}
			break
		}
		got++
	}
	if got < 1024 || got > n {
		t.Errorf("%d of %d events came", got, n)
	}
	t.Logf("%d events were sent, %d came before the stream ended with Unavailable", n, got)
	r.works(t)
}

// TestAbsentReader: one that never reads its answers loses its connection, and its calls end.
func TestAbsentReader(t *testing.T) {
	r := newRig(t, Limits{WriteTime: 200 * time.Millisecond})
	r.buckets = 400
	for i := range 50 {
		if _, err := r.exportsClient(t).Create(t.Context(), &vublkv1.CreateRequest{Definition: definition(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	conn := r.dial(t)
	for i := range 20 {
		send(t, conn, request(t, uint32(2*i+1), "vublk.v1.Observe", "Stats", []byte{0x10, 1}))
	}
	deadline := time.Now().Add(10 * time.Second)
	for gone := false; !gone; gone = hungUp(conn) {
		if time.Now().After(deadline) {
			t.Fatal("the connection of a client that reads nothing stays for ever")
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.works(t)
}

// TestThousandConnections: a second later those that do nothing make room for those that come.
func TestThousandConnections(t *testing.T) {
	r := newRig(t, Limits{})
	goroutines, heap := runtime.NumGoroutine(), memory()
	var all []net.Conn
	for range 1000 {
		all = append(all, r.dial(t))
	}
	time.Sleep(idleEnough + 100*time.Millisecond) // not to synchronise: to grow old
	for range 300 {
		r.works(t)
	}
	r.server.mu.Lock()
	clients := len(r.server.clients)
	r.server.mu.Unlock()
	grown, more := runtime.NumGoroutine()-goroutines, int64(memory())-int64(heap)
	t.Logf("%d connections: %d are served, %d goroutines, %d KiB", len(all), clients, grown, more>>10)
	if clients > 256 || grown > 4*256+20 || more > 16<<20 {
		t.Error("more than 256 connections, 4 goroutines each, 16 MiB")
	}
}

// TestOneUserCannotLockOthersOut: connections of a user who is no owner are few, and only idle ones of the same user make room.
func TestOneUserCannotLockOthersOut(t *testing.T) {
	s := newRig(t, Limits{Connections: 6, PerUser: 2}).server
	enter := func(uid uint32, age time.Duration, busy int) string {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		g := newGuard(a, &s.o.Limits, nil)
		g.used, g.frames = time.Now().Add(-age), busy
		reason := s.enter(g, peer{uid: uid})
		if reason == "" {
			s.running.Done() // nobody serves it
		}
		return reason
	}
	for i, c := range []struct {
		uid  uint32
		age  time.Duration
		busy int
		says string
	}{
		{1000, 0, 1, ""},
		{1000, time.Minute, 0, ""},
		{1000, 0, 1, ""}, // the idle one went
		{1000, 0, 0, "its user has too many"},
		{0, 0, 1, ""},
		{0, 0, 1, ""},
		{0, 0, 1, ""},
		{0, time.Hour, 0, ""},
		{1001, 0, 0, ""}, // in the place of the idle one
		{0, 0, 0, "too many connections"},
	} {
		if reason := enter(c.uid, c.age, c.busy); (c.says == "") != (reason == "") || !strings.Contains(reason, c.says) {
			t.Errorf("%d: %q, want %q", i, reason, c.says)
		}
	}
}

// TestStatsAreCollectedTogether: a hundred who ask at a time cost a few collections, and each gets all of its answer.
func TestStatsAreCollectedTogether(t *testing.T) {
	r := newRig(t, Limits{})
	r.buckets = 20
	if _, err := r.exportsClient(t).Create(t.Context(), &vublkv1.CreateRequest{Definition: definition("vm")}); err != nil {
		t.Fatal(err)
	}
	const asked = 100
	failed := make(chan error, asked)
	begin := time.Now()
	clients := []vublkv1.ObserveClient{r.observeClient(t), r.observeClient(t)}
	for i := range asked {
		go func() {
			s, err := clients[i%2].Stats(t.Context(), &vublkv1.StatsRequest{Queues: true})
			if err == nil && (s.GetExports()[0].GetQueues()[0].GetOther().GetRequests() != 5 || len(s.GetWorkers()) != 1) {
				err = errors.Errorf("wrong: %v", s)
			}
			failed <- err
		}()
	}
	for range asked {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if most := min(int(time.Since(begin)/samplePause)+2, asked/2); r.collected > most {
		t.Errorf("%d collections for %d calls, want %d at most", r.collected, asked, most)
	}
	t.Logf("%d calls, %d collections", asked, r.collected)
}

// TestBecause: a line says nothing of an error that there is not.
func TestBecause(t *testing.T) {
	if f := because(nil, "client", "x"); len(f) != 2 {
		t.Errorf("%v", f)
	}
	if f := because(errors.New("y"), "client", "x"); len(f) != 4 || f[2] != "error" {
		t.Errorf("%v", f)
	}
}
