package vhostuser

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/pkg/errors"
)

func TestTableIsComplete(t *testing.T) {
	for req, r := range rules {
		if int(req) >= len(requestNames) {
			t.Errorf("%v has no name", req)
		}
		switch {
		case r.handle == nil && offered.Has(r.needs):
			t.Errorf("%v can be reached and has no handler", req)
		case r.size[0] > r.size[1] || r.size[1] > maxPayload || r.fds[0] > r.fds[1] || r.fds[1] > maxFDs:
			t.Errorf("%v: bounds %v %v", req, r.size, r.fds)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		RequestGetConfig.String():                       "GET_CONFIG",
		Request(0).String():                             "UNKNOWN(0)",
		Request(1<<32 - 1).String():                     "UNKNOWN(4294967295)",
		ProtocolFeatures(0).String():                    "none",
		(ProtocolMQ | ProtocolConfig | 1<<40).String():  "MQ|CONFIG|0x10000000000",
		span{2, 2}.String() + " " + span{0, 8}.String(): "2 0 to 8",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	err := &ProtocolError{Request: RequestSetOwner, Reason: "failed", Err: errors.New("why")}
	if err.Error() != "vhost-user SET_OWNER: failed: why" || errors.Unwrap(err).Error() != "why" {
		t.Error(err)
	}
}

func TestDescribe(t *testing.T) {
	region := func(b []byte) []byte {
		for _, v := range []uint64{0x1000, 0x2000, 0x7fe42ffff000, 0x3000} {
			b = appendU64(b, v)
		}
		return b
	}
	addr := vringState{index: 1}.append(nil)
	for _, v := range []uint64{0xd, 0xe, 0xa, 0xf} {
		addr = appendU64(addr, v)
	}
	for _, c := range []struct {
		req  Request
		b    []byte
		want string
	}{
		{RequestSetOwner, nil, ""},
		{RequestSetFeatures, appendU64(nil, 0x140000044), "0x140000044"},
		{RequestSetVringNum, vringState{index: 2, num: 128}.append(nil), "vq=2 num=128 (0x80)"},
		{RequestSetVringKick, appendU64(nil, 3), "vq=3"},
		{RequestSetVringCall, appendU64(nil, 0x103), "vq=3 nofd"},
		{RequestSetVringAddr, addr, "vq=1 flags=0 desc=d used=e avail=a log=f"},
		{RequestAddMemReg, region(appendU64(nil, 0)), "n=1 [gpa=1000 size=2000 uva=7fe42ffff000 off=3000]"},
		{RequestSetMemTable, region(appendU64(nil, 1)), "n=1 [gpa=1000 size=2000 uva=7fe42ffff000 off=3000]"},
		{RequestGetConfig, configAccess{size: 2, data: []byte{1, 2}}.append(nil), "off=0 size=2 flags=0 data=0102"},
		{RequestSetVringNum, []byte{1, 2, 3}, "010203"},
	} {
		if got := describe(c.req, c.b); got != c.want {
			t.Errorf("%v: %q, want %q", c.req, got, c.want)
		}
	}
}

// FuzzDecode feeds every decoder with every size that its rule lets through, and the trace with anything.
func FuzzDecode(f *testing.F) {
	f.Add(uint32(RequestSetMemTable), appendU64(nil, 8))
	f.Add(uint32(RequestGetConfig), configAccess{offset: 1, size: 2, data: []byte{1, 2}}.append(nil))
	f.Add(uint32(RequestSetVringKick), appendU64(nil, 0x1ff))
	f.Fuzz(func(t *testing.T, id uint32, b []byte) {
		req := Request(id)
		if len(b) > maxPayload {
			b = b[:maxPayload]
		}
		if s := describe(req, b); strings.Contains(s, "%!") {
			t.Fatalf("%v: %q", req, s)
		}
		if r, ok := rules[req]; !ok || len(b) < r.size[0] || len(b) > r.size[1] {
			return
		}
		switch req {
		case RequestSetMemTable:
			if regions, ok := decodeMemTable(b); ok && len(regions) != (len(b)-8)/regionSize {
				t.Fatalf("%d regions of %d bytes", len(regions), len(b))
			}
		case RequestGetConfig, RequestSetConfig:
			c, ok := decodeConfig(b)
			if ok && len(c.data) > 0 && !bytes.Equal(c.append(nil), b) {
				t.Fatalf("%x came back as %x", b, c.append(nil))
			}
			if ok && c.size > configMaxSize {
				t.Fatalf("size %d let through", c.size)
			}
		case RequestSetVringNum:
			if !bytes.Equal(decodeVringState(b).append(nil), b) {
				t.Fatalf("%x", b)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(header{request: RequestGetFeatures, flags: 1}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		h := decodeHeader((*[headerSize]byte)(b))
		if !bytes.Equal(h.append(nil), b[:headerSize]) {
			t.Fatalf("%x came back as %x", b, h.append(nil))
		}
		if h.fault() == "" && (h.size > maxPayload || binary.NativeEndian.Uint32(b[4:])&7 != flagVersion) {
			t.Fatalf("%x let through", b)
		}
	})
}
