package vhostuser_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// The u64 of an ack is not the request's payload.
func TestTraceOfAcks(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, vhostuser.Options{Trace: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.negotiate(allFeatures)
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(1, 1))
	r.refused(vhostuser.RequestSetVringEnable, ut.VringState(1, 2))
	r.getU64(vhostuser.RequestGetQueueNum)
	r.hangUp()
	for _, want := range []string{
		`dir=-> request=SET_VRING_ENABLE flags=9 size=8 fds=0 payload="vq=1 num=1 (0x1)"`,
		`dir=<- request=SET_VRING_ENABLE flags=5 size=8 fds=0 payload="ack=0"`,
		`dir=<- request=SET_VRING_ENABLE flags=5 size=8 fds=0 payload="ack=1"`,
		`dir=<- request=GET_QUEUE_NUM flags=5 size=8 fds=0 payload=0x100`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no line with %s in\n%s", want, log.String())
		}
	}
}

// A guest's choice of messages must not fill the disk with log lines.
func TestRefusalsAreLoggedOncePerRequest(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, vhostuser.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.negotiate(allFeatures)
	readOnly := ut.Config(0, 1, 0, []byte{1})
	for range 100 {
		r.refused(vhostuser.RequestSetConfig, readOnly)
		r.set(vhostuser.RequestSetConfig, readOnly) // nobody waits for an ack
		r.get(vhostuser.RequestGetConfig, ut.Config(0, 257, 0, make([]byte, 257)))
		r.refused(vhostuser.RequestSetVringNum, ut.VringState(1<<31, 128))
	}
	r.refused(vhostuser.RequestSetVringBase, ut.VringState(1<<31, 0))
	r.hangUp()
	for _, c := range []struct {
		request string
		lines   int
		count   string
	}{
		{"SET_CONFIG", 2, "count=200"},
		{"GET_CONFIG", 2, "count=100"},
		{"SET_VRING_NUM", 2, "count=100"},
		{"SET_VRING_BASE", 1, ""},
	} {
		var lines []string
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "request="+c.request+" ") {
				lines = append(lines, line)
			}
		}
		if len(lines) != c.lines || !strings.Contains(lines[len(lines)-1], c.count) {
			t.Errorf("%s: want %d lines, the last with %q; got\n%s", c.request, c.lines, c.count, strings.Join(lines, ""))
		}
	}
}
