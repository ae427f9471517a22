package replay

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/vublk/vublk/virtio"
)

// configuration is a back-end, how it is started and what is negotiated with it.
type configuration struct {
	backend string // "vublk", or qemu-storage-daemon's own export
	mode    string // for the table
	options []string
	decline virtio.Features
	queues  int
	off     bool // the driver sets writeback to 0
	packed  bool // rings
	loses   bool // losses must be found, or the check proves nothing
}

const daemon = "qemu-storage-daemon"

// prove runs the load, replays what was logged, and prints a line of the table.
func (c configuration) prove(t *testing.T) {
	dir := newDir(t)
	l := &load{record: newRecorder(t, dir, loadSize), seed: newSeed(t), want: 120, off: c.off, packed: c.packed}
	if lab.long && !c.loses {
		l.want = 1200
	}
	if c.backend == "vublk" {
		b, socket := l.record.serve(t, c.options...)
		l.run(t, socket, c.queues, c.decline)
		must(t, b.Stop())
	} else {
		socket := filepath.Join(dir, "qemu.sock")
		export := fmt.Sprintf("type=vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=%d,addr.type=unix,addr.path=%s", c.queues, socket)
		for _, o := range c.options {
			export += "," + o
		}
		l.record.start(t, []string{socket}, export)
		l.run(t, socket, c.queues, c.decline)
	}
	l.record.stop(t)
	v, err := l.judge(l.record.log())
	if err != nil {
		t.Errorf("seed %#x: %v", l.seed, err)
	}
	rule := "write-back"
	if l.through {
		rule = "write-through"
	}
	t.Logf("| %-19s | %-36s | %-13s | %5d writes | %5d promises | %5d flush points | %5d broken | %6d sectors lost | seed %#x |",
		c.backend, c.mode, rule, l.writes.Load(), len(l.promises), v.points, v.broken, v.sectors, l.seed)
	switch {
	case c.loses && v.broken == 0:
		t.Error("no loss was found: the check proves nothing")
	case !c.loses && v.broken > 0:
		t.Errorf("%d promises broken", v.broken)
	case !c.loses && v.points < int(l.want)*5/6:
		t.Errorf("only %d flush points", v.points)
	}
}

// TestNative replays to each flush what a native front-end had vublk write.
func TestNative(t *testing.T) {
	for _, c := range []configuration{
		{mode: "default", queues: maxQueues},
		{mode: "default, one queue", queues: 1},
		{mode: "default, packed rings", queues: maxQueues, packed: true},
		{mode: "default, FLUSH not negotiated", decline: featureFlush, queues: maxQueues},
		{mode: "--cache=writethrough", options: []string{"--cache=writethrough"}, queues: 1},
		{mode: "--config-wce", options: []string{"--config-wce"}, queues: maxQueues},
		{mode: "--config-wce, writeback set to 0", options: []string{"--config-wce"}, off: true, queues: 1},
		{mode: "--config-wce, FLUSH not negotiated", options: []string{"--config-wce"}, decline: featureFlush, queues: 1},
	} {
		c.backend = "vublk"
		t.Run(c.mode, c.prove)
	}
}

// TestLossesAreFound runs the same check on those who lose.
func TestLossesAreFound(t *testing.T) {
	for _, c := range []configuration{
		{backend: "vublk", mode: "--cache=unsafe", options: []string{"--cache=unsafe"}, queues: 1, loses: true},
		// It has a volatile cache, whatever is negotiated.
		{backend: daemon, mode: "default, FLUSH only", decline: featureWCE, queues: 1},
		{backend: daemon, mode: "default, CONFIG_WCE", queues: 1, loses: true},
		{backend: daemon, mode: "default, neither", decline: featureFlush | featureWCE, queues: 1, loses: true},
		// The flush that belongs to a write is left out when there seems to be nothing to flush: at the first write, and at the
		// first after a FLUSH.
		{backend: daemon, mode: "writethrough=on, neither", options: []string{"writethrough=on"}, decline: featureFlush | featureWCE, queues: 1, loses: true},
		{backend: daemon, mode: "writethrough=on, CONFIG_WCE", options: []string{"writethrough=on"}, queues: 1, loses: true},
	} {
		t.Run(c.backend+", "+c.mode, c.prove)
	}
}
