package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// wantProtocolError checks what Serve returned.
func wantProtocolError(t *testing.T, err error, req vhostuser.Request) {
	t.Helper()
	var pe *vhostuser.ProtocolError
	if !errors.As(err, &pe) || pe.Request != req || pe.Error() == "" {
		t.Fatalf("Serve: %v, want a ProtocolError of %v", err, req)
	}
}

// header builds any header.
func header(req vhostuser.Request, flags, size uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(req))
	b = binary.NativeEndian.AppendUint32(b, flags)
	return binary.NativeEndian.AppendUint32(b, size)
}

func TestHeadersThatEndTheSession(t *testing.T) {
	for name, head := range map[string][]byte{
		"version 0":               header(1, 0, 0),
		"version 2":               header(1, 2, 0),
		"version 3":               header(1, 3, 0),
		"a reply":                 header(1, 5, 0),
		"payload of 2057 bytes":   header(1, 1, 2057),
		"payload of 4 GiB":        header(1, 1, 1<<32-1),
		"unknown id and 64 KiB":   header(99, 9, 1<<16),
		"need_reply and 64 KiB":   header(5, 9, 1<<16),
		"all ones":                bytes.Repeat([]byte{0xff}, 12),
		"all zeroes":              make([]byte, 12),
		"big-endian GET_FEATURES": {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vhostuser.Options{})
			r.negotiate(allFeatures)
			if err := r.conn.SendRaw(head, eventfd(t), eventfd(t)); err != nil {
				t.Fatal(err)
			}
			wantProtocolError(t, r.wait(), vhostuser.Request(binary.NativeEndian.Uint32(head)))
			if _, err := r.conn.Recv(); !errors.Is(err, io.EOF) {
				t.Fatalf("front-end sees %v", err)
			}
		})
	}
}

// A front-end that dies at any byte of a message, with descriptors on the way.
func TestEOFAtEveryByte(t *testing.T) {
	memory := memfd(t, traceSize)
	msg := ut.Message{Request: vhostuser.RequestAddMemReg, Flags: 9, Payload: ut.MemReg(traceRegion)}.Bytes()
	for n := range len(msg) {
		r := newRig(t, vhostuser.Options{})
		r.negotiate(allFeatures)
		if n > 0 {
			if err := r.conn.SendRaw(msg[:n], memory); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.conn.Close(); err != nil {
			t.Fatal(err)
		}
		switch err := r.wait(); {
		case n == 0 && err != nil:
			t.Fatalf("between messages: %v", err)
		case n > 0 && n < 12:
			wantProtocolError(t, err, 0)
		case n >= 12:
			wantProtocolError(t, err, vhostuser.RequestAddMemReg)
		}
	}
}

// Messages arrive in any pieces, and the descriptors with any of them.
func TestMessagesInPieces(t *testing.T) {
	memory := memfd(t, traceSize)
	msg := ut.Message{Request: vhostuser.RequestAddMemReg, Flags: 9, Payload: ut.MemReg(traceRegion)}.Bytes()
	for _, with := range []int{0, 5, 12, len(msg) - 1} {
		r := newRig(t, vhostuser.Options{})
		r.negotiate(allFeatures)
		for i := range msg {
			var fds []int
			if i == with {
				fds = []int{memory}
			}
			if err := r.conn.SendRaw(msg[i:i+1], fds...); err != nil {
				t.Fatal(err)
			}
		}
		m, err := r.conn.Recv()
		if err != nil || !bytes.Equal(m.Bytes(), wire(vhostuser.RequestAddMemReg, ut.U64(0))) {
			t.Fatalf("descriptor with byte %d: % x, %v", with, m.Bytes(), err)
		}
		r.hangUp()
	}
}

// refusal is a message that fails. With need_reply it is nacked and the session goes on, without it the session ends.
type refusal struct {
	name    string
	req     vhostuser.Request
	payload []byte
	fds     int
}

var refusals = []refusal{
	{"payload too short", vhostuser.RequestSetFeatures, make([]byte, 7), 0},
	{"payload too long", vhostuser.RequestSetFeatures, make([]byte, 9), 0},
	{"payload where none is due", vhostuser.RequestSetOwner, make([]byte, 1), 0},
	{"largest payload", vhostuser.RequestSetVringNum, make([]byte, 2056), 0},
	{"short address", vhostuser.RequestSetVringAddr, make([]byte, 39), 0},
	{"a region short of a byte", vhostuser.RequestAddMemReg, make([]byte, 39), 1},
	{"descriptors on a message without", vhostuser.RequestSetFeatures, ut.U64(0), 1},
	{"descriptors on SET_OWNER", vhostuser.RequestSetOwner, nil, 8},
	{"no descriptor", vhostuser.RequestAddMemReg, ut.MemReg(traceRegion), 0},
	{"two descriptors", vhostuser.RequestAddMemReg, ut.MemReg(traceRegion), 2},
	{"two descriptors to remove", vhostuser.RequestRemMemReg, ut.MemReg(traceRegion), 2},
	{"nine descriptors", vhostuser.RequestSetMemTable, ut.MemTable(), 9},
	{"twelve descriptors", vhostuser.RequestSetOwner, nil, 12},
	{"fewer descriptors than regions", vhostuser.RequestSetMemTable, ut.MemTable(regionAt(0), regionAt(1)), 1},
	{"more descriptors than regions", vhostuser.RequestSetMemTable, ut.MemTable(regionAt(0)), 2},
	{"more regions than payload", vhostuser.RequestSetMemTable, ut.U64(2), 2},
	{"less regions than payload", vhostuser.RequestSetMemTable, append(ut.MemTable(regionAt(0)), make([]byte, 32)...), 1},
	{"2^32-1 regions", vhostuser.RequestSetMemTable, ut.U64(1<<32 - 1), 0},
	{"2^27+1 regions", vhostuser.RequestSetMemTable, append(ut.U64(1<<27+1), make([]byte, 32)...), 1},
	{"eventfd as memory", vhostuser.RequestAddMemReg, ut.MemReg(traceRegion), 1},
	{"two kicks", vhostuser.RequestSetVringKick, ut.U64(0), 2},
	{"kick without its descriptor", vhostuser.RequestSetVringKick, ut.U64(0), 0},
	{"kick with one too many", vhostuser.RequestSetVringKick, ut.U64(ut.NoFD), 1},
	{"call without its descriptor", vhostuser.RequestSetVringCall, ut.U64(1), 0},
	{"kick before memory", vhostuser.RequestSetVringKick, ut.U64(0), 1},
	{"kick of ring 4 of 4", vhostuser.RequestSetVringKick, ut.U64(4), 1},
	{"call of ring 255", vhostuser.RequestSetVringCall, ut.U64(255), 1},
	{"err of ring 255", vhostuser.RequestSetVringErr, ut.U64(255), 1},
	{"kick with high bits", vhostuser.RequestSetVringKick, ut.U64(1 << 9), 1},
	{"kick with the highest bit", vhostuser.RequestSetVringKick, ut.U64(1 << 63), 1},
	{"num of ring 4", vhostuser.RequestSetVringNum, ut.VringState(4, 128), 0},
	{"base of ring 2^32-1", vhostuser.RequestSetVringBase, ut.VringState(1<<32-1, 0), 0},
	{"address of ring 2^31", vhostuser.RequestSetVringAddr, ut.VringAddr(1<<31, 0, 0, 0), 0},
	{"enable of ring 4", vhostuser.RequestSetVringEnable, ut.VringState(4, 1), 0},
	{"enable 2", vhostuser.RequestSetVringEnable, ut.VringState(0, 2), 0},
	{"unknown flag of a ring", vhostuser.RequestSetVringAddr, append(ut.U64(1<<33), make([]byte, 32)...), 0},
	{"SET_INFLIGHT_FD for no queue", vhostuser.RequestSetInflightFD, make([]byte, 24), 1},
	{"channel without a descriptor", vhostuser.RequestSetBackendReqFD, nil, 0},
	{"SET_CONFIG without a header", vhostuser.RequestSetConfig, make([]byte, 11), 0},
	{"SET_CONFIG of 257 bytes", vhostuser.RequestSetConfig, ut.Config(0, 257, 0, make([]byte, 257)), 0},
	{"features that were not offered", vhostuser.RequestSetFeatures, ut.U64(1 << 40), 0},
	{"protocol features that were not offered", vhostuser.RequestSetProtocolFeatures, ut.U64(1 << 17), 0},
}

func (c refusal) message(t *testing.T, flags uint32) ut.Message {
	t.Helper()
	m := ut.Message{Request: c.req, Flags: flags, Payload: c.payload}
	for range c.fds {
		m.FDs = append(m.FDs, eventfd(t))
	}
	return m
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, vhostuser.Options{Queues: 4})
			r.negotiate(allFeatures)
			for range 2 {
				if err := r.conn.Send(c.message(t, 9)); err != nil {
					t.Fatal(err)
				}
				m, err := r.conn.Recv()
				if err != nil || !bytes.Equal(m.Bytes(), wire(c.req, ut.U64(1))) {
					t.Fatalf("answer % x, %v; want a nack", m.Bytes(), err)
				}
				r.alive()
			}
			if err := r.conn.Send(c.message(t, 1)); err != nil {
				t.Fatal(err)
			}
			wantProtocolError(t, r.wait(), c.req)
		})
	}
}

// Without REPLY_ACK nobody may answer, whatever the flag says.
func TestNeedReplyWithoutReplyAck(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	send := func(req vhostuser.Request, payload []byte) {
		t.Helper()
		if err := r.conn.Send(ut.Message{Request: req, Flags: 9, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	send(vhostuser.RequestSetOwner, nil)
	send(vhostuser.RequestSetFeatures, ut.U64(1<<32))
	send(99, nil)
	send(vhostuser.RequestSetProtocolFeatures, ut.U64(uint64(allFeatures))) // itself not acked
	r.alive()
	send(vhostuser.RequestSetVringNum, make([]byte, 3))
	if v, err := r.conn.Recv(); err != nil || !bytes.Equal(v.Payload, ut.U64(1)) {
		t.Fatalf("%v, %v; want a nack now", v, err)
	}
	r.hangUp()
}

// A front-end that waits for a reply which cannot be given: no nack would be understood, so the session ends.
func TestRequestsWithAReplyThatCannotBeGiven(t *testing.T) {
	for _, c := range []struct {
		req     vhostuser.Request
		payload []byte
	}{
		{vhostuser.RequestGetFeatures, make([]byte, 1)},
		{vhostuser.RequestGetVringBase, ut.VringState(256, 0)},
		{vhostuser.RequestGetVringBase, make([]byte, 7)},
		{vhostuser.RequestGetInflightFD, make([]byte, 24)},
		{vhostuser.RequestSetLogBase, make([]byte, 16)},
		{vhostuser.RequestPostcopyAdvise, nil},
		{vhostuser.RequestPostcopyEnd, nil},
		{vhostuser.RequestIOTLBMsg, make([]byte, 32)},
		{vhostuser.RequestGetStatus, nil},
		{vhostuser.RequestGetSharedObject, make([]byte, 16)},
		{vhostuser.RequestSetDeviceStateFD, make([]byte, 8)},
		{vhostuser.RequestCheckDeviceState, nil},
		{vhostuser.RequestGetShmemConfig, nil},
	} {
		for _, flags := range []uint32{1, 9} {
			t.Run(fmt.Sprintf("%v flags %d", c.req, flags), func(t *testing.T) {
				r := newRig(t, vhostuser.Options{})
				r.negotiate(allFeatures)
				if err := r.conn.Send(ut.Message{Request: c.req, Flags: flags, Payload: c.payload}); err != nil {
					t.Fatal(err)
				}
				wantProtocolError(t, r.wait(), c.req)
			})
		}
	}
}

func TestMessagesWhoseFeatureWasNotNegotiated(t *testing.T) {
	config := ut.Config(0, 1, 0, []byte{0})
	for req, payload := range map[vhostuser.Request][]byte{
		vhostuser.RequestGetQueueNum:     nil,
		vhostuser.RequestGetConfig:       config,
		vhostuser.RequestSetConfig:       config,
		vhostuser.RequestResetDevice:     nil,
		vhostuser.RequestGetMaxMemSlots:  nil,
		vhostuser.RequestAddMemReg:       ut.MemReg(traceRegion),
		vhostuser.RequestRemMemReg:       ut.MemReg(traceRegion),
		vhostuser.RequestSetBackendReqFD: nil,
		vhostuser.RequestSetLogBase:      make([]byte, 16),
	} {
		t.Run(req.String(), func(t *testing.T) {
			r := newRig(t, vhostuser.Options{})
			r.set(req, payload, eventfd(t))
			wantProtocolError(t, r.wait(), req)
		})
	}
}

func TestUnknownMessages(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, vhostuser.Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	r.negotiate(allFeatures)
	unknown := []vhostuser.Request{
		0, vhostuser.RequestSendRARP, vhostuser.RequestNetSetMTU, vhostuser.RequestSetVringEndian,
		vhostuser.RequestVringKick, vhostuser.RequestSetStatus, 45, 1 << 31, 1<<32 - 1,
	}
	for range 3 {
		for _, req := range unknown {
			r.set(req, make([]byte, 100), eventfd(t), eventfd(t))
			r.refused(req, nil, eventfd(t))
		}
	}
	for req := vhostuser.Request(1000); req < 3000; req++ {
		r.set(req, nil)
	}
	r.alive()
	r.hangUp()
	if n := strings.Count(log.String(), "not known here"); n != 64 {
		t.Fatalf("%d lines about unknown messages, want one per id and 64 at most", n)
	}
	if !strings.Contains(log.String(), "request=SEND_RARP") {
		t.Fatal("SEND_RARP was not logged by name")
	}
}

func TestDeprecatedAndOptionalMessages(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.ok(vhostuser.RequestSetOwner, nil)
	r.ok(vhostuser.RequestResetOwner, nil)
	r.ok(vhostuser.RequestSetLogFD, nil, eventfd(t))
	r.ok(vhostuser.RequestSetVringKick+6, ut.VringState(0, 1)) // SET_VRING_ENABLE by number
	r.hangUp()
}
