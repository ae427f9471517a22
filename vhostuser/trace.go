package vhostuser

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// traceRequest, traceReply and traceAck log one line per message, for Options.Trace. Arrows as in a packet dump: "->" to us.
func (s *Session) traceRequest(m *message) {
	if s.opts.Trace {
		s.log.Info("vhost-user", "dir", "->", "request", m.request, "flags", m.flags, "size", m.size,
			"fds", len(m.fds), "payload", describe(m.request, m.payload))
	}
}

func (s *Session) traceReply(r Request, body []byte) {
	if s.opts.Trace {
		s.traceAnswer(r, body, describe(r, body))
	}
}

// traceAck is for the u64 of need_reply, which is not the payload that the request has.
func (s *Session) traceAck(r Request, body []byte) {
	if s.opts.Trace {
		s.traceAnswer(r, body, fmt.Sprintf("ack=%d", u64(body)))
	}
}

func (s *Session) traceAnswer(r Request, body []byte, payload string) {
	s.log.Info("vhost-user", "dir", "<-", "request", r, "flags", flagVersion|flagReply, "size", len(body),
		"fds", 0, "payload", payload)
}

// describe decodes a payload for the reader of a trace. It is called before anything was checked.
func describe(r Request, b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case r == RequestSetMemTable && len(b) >= memTableHeadSize && (len(b)-memTableHeadSize)%regionSize == 0:
		return describeRegions(binary.NativeEndian.Uint32(b), b[memTableHeadSize:])
	case (r == RequestAddMemReg || r == RequestRemMemReg) && len(b) == memRegSize:
		return describeRegions(1, b[8:])
	case r == RequestSetVringAddr && len(b) == vringAddrSize:
		a := decodeVringAddr(b)
		return fmt.Sprintf("vq=%d flags=%d desc=%x used=%x avail=%x log=%x",
			a.index, a.flags, a.desc, a.device, a.driver, a.log)
	case (r == RequestGetConfig || r == RequestSetConfig) && len(b) >= configHeadSize:
		c, _ := decodeConfig(b)
		return fmt.Sprintf("off=%d size=%d flags=%d data=%x", c.offset, c.size, c.flags, c.data)
	case (r == RequestGetInflightFD || r == RequestSetInflightFD) && len(b) >= inflightSize:
		p := decodeInflight(b)
		return fmt.Sprintf("mmap_size=%d off=%d nq=%d qsz=%d", p.size, p.offset, p.queues, p.queueSize)
	case r == RequestSetLogBase && len(b) == logBaseSize:
		l := decodeLogBase(b)
		return fmt.Sprintf("size=%#x off=%#x", l.size, l.offset)
	case len(b) != u64Size:
		return fmt.Sprintf("%x", b)
	}
	return describeWord(r, b)
}

// describeWord is for the payloads of 8 bytes.
func describeWord(r Request, b []byte) string {
	switch r {
	case RequestSetVringNum, RequestSetVringBase, RequestGetVringBase, RequestSetVringEnable:
		v := decodeVringState(b)
		return fmt.Sprintf("vq=%d num=%d (%#x)", v.index, v.num, v.num)
	case RequestSetVringKick, RequestSetVringCall, RequestSetVringErr:
		f := decodeVringFile(b)
		if f.noFD {
			return fmt.Sprintf("vq=%d nofd", f.index)
		}
		return fmt.Sprintf("vq=%d", f.index)
	default:
		return fmt.Sprintf("%#x", u64(b))
	}
}

func describeRegions(n uint32, b []byte) string {
	var s strings.Builder
	fmt.Fprintf(&s, "n=%d", n)
	for ; len(b) >= regionSize; b = b[regionSize:] {
		r := decodeRegion(b)
		fmt.Fprintf(&s, " [gpa=%x size=%x uva=%x off=%x]",
			uint64(r.GPA), r.Size, uint64(r.UserAddr), r.Offset)
	}
	return s.String()
}
