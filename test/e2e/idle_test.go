package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// TestIdle measures what a disk costs whose guest does nothing.
func TestIdle(t *testing.T) {
	const (
		window      = 30 * time.Second
		maxSwitches = 2 * int(window/time.Second)
		maxMemory   = 20 << 10 // KiB
	)
	m := seededImage(t, filepath.Join(newDir(t), "disk.img"), 128*mib)
	b := startVublk(t, m)
	g := startGuest(t, oneDisk(b.Socket, 2, ""), guest.Contents{})
	g.exercise("vda", "new") // the workers have run, everything is attached and started
	g.run("sync")

	switches := switchCounter{pid: b.PID(), last: map[int]int{}}
	switches.since(t)
	// What was under way when the guest fell idle is not what is measured.
	eventually(t, "vublk falls quiet", 20*time.Second, func() bool {
		time.Sleep(time.Second)
		return switches.since(t) <= 2
	})
	sum := 0
	for begin := time.Now(); time.Since(begin) < window; sum += switches.since(t) {
		time.Sleep(time.Second)
	}
	memory, err := guest.PrivateMemory(b.PID())
	must(t, err)
	t.Logf("idle: %d context switches in %v, RssAnon + RssFile %d KiB", sum, window, memory)
	if sum > maxSwitches {
		t.Errorf("%d context switches in %v, want at most %d", sum, window, maxSwitches)
	}
	if memory > maxMemory {
		t.Errorf("RssAnon + RssFile is %d KiB, want at most %d", memory, maxMemory)
	}
	g.exercise("vda", "again") // it still works after the pause
	g.powerOff()
	checkImage(t, m, map[string][]byte{"/seed": seed, "/new": payload, "/again": payload})
}

// switchCounter counts the context switches of a process whose threads come and go: io-wq workers of io_uring end after
// a while and take their counts with them.
type switchCounter struct {
	pid  int
	last map[int]int
}

// since returns the context switches since the call before.
func (c *switchCounter) since(t *testing.T) int {
	t.Helper()
	now, err := guest.ContextSwitches(c.pid)
	must(t, err)
	sum := 0
	for tid, n := range now {
		sum += n - c.last[tid]
	}
	c.last = now
	return sum
}
