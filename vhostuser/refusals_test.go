package vhostuser_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

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
