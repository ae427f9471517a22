package lock

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
)

const (
	slowSize = 128 << 10 // of a write
	slowRate = 64 << 10  // bytes per second that the disk takes

	heldFor = 20 * time.Millisecond // a lock that is only tried for is not held as long as this
)

// landing is when what has happened to a write that outlived its process, and to the successor.
type landing struct {
	submitted, killed, gone, landed, locked, served time.Time
}

// TestZombieLands: a disk takes nothing until a write's process is dead and the successor waits, and is slow from then on, so
// that the write lands by itself seconds later. The successor gets the lock after that, and only then serves: first the very
// request that was in flight.
func TestZombieLands(t *testing.T) {
	for _, c := range slowImages {
		t.Run(c.name, func(t *testing.T) {
			i := c.make(t)
			b := newBrake(t, i.device)
			p, socket := serving(t, i.path)
			t.Cleanup(b.release) // before the processes are waited for
			b.take(p)
			g := attach(t, socket)
			expect(t, "before", read(t, g, 0, slowSize), pattern('0', slowSize))
			b.pull()

			var at landing
			at.submitted = time.Now()
			g.Submit(0, clitest.Out, 0, pattern('Z', slowSize))
			g.WantPending(0, hangTime/2, "the request was not held back")
			at.killed = time.Now()
			p.signalKill()
			p.awaitDeath()
			at.gone = time.Now()
			expect(t, "when the process is gone", i.bytes(t, slowSize), pattern('0', slowSize))

			next := start(t, serve(socket, i.path, lockTimeout)...)
			next.await("waiting for the image's lock")
			b.slow(slowRate)
			at.watch(t, i, next)
			reattach(t, g, next, socket)
			g.WantDone(0, "the request that was in flight")
			at.served = time.Now()
			at.print(t)

			write(t, g, 0, pattern('N', slowSize))
			next.end()
			expect(t, "after all", i.bytes(t, slowSize), pattern('N', slowSize))
		})
	}
}

// watch waits until the write has landed and the successor has the lock. That one must not listen before.
func (at *landing) watch(t *testing.T, i slowImage, next *process) {
	t.Helper()
	var since time.Time // of the lock being held at each look
	for deadline := time.Now().Add(patience); at.locked.IsZero(); time.Sleep(time.Millisecond) {
		listens, held := strings.Contains(next.Log(), "msg=listening"), next.holdsByte(i.path, 101)
		landed := bytes.Equal(i.bytes(t, slowSize), pattern('Z', slowSize))
		now := time.Now()
		if landed && at.landed.IsZero() {
			at.landed = now
		}
		if !landed && listens {
			t.Fatal("the successor listens, the write has not landed")
		}
		switch {
		case !held:
			since = time.Time{}
		case since.IsZero():
			since = now
		}
		if held && now.Sub(since) >= heldFor {
			at.locked = since
			if !landed {
				t.Fatal("the successor has the lock, the write has not landed")
			}
		}
		if now.After(deadline) {
			t.Fatalf("the successor does not get the lock:\n%s", next.Log())
		}
	}
}

// reattach gives the guest to the successor as QEMU does after a crash.
func reattach(t *testing.T, g *clitest.Guest, next *process, socket string) {
	t.Helper()
	next.await("msg=listening")
	if err := g.Disconnect(); err != nil {
		t.Fatal(err)
	}
	g.SetBase(0, virtio.Base(g.Queue(0).Split().UsedIdx()))
	c, err := vhostusertest.Dial(socket)
	if err == nil {
		err = g.Reconnect(c)
	}
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// print shows the order of events, and demands that the write has outlived its process.
func (at *landing) print(t *testing.T) {
	t.Helper()
	ms := func(m time.Time) int64 { return m.Sub(at.killed).Milliseconds() }
	t.Logf("| write submitted %d ms | SIGKILL 0 | process gone %d ms | write landed %d ms | successor has the lock %d ms | first request served %d ms |",
		ms(at.submitted), ms(at.gone), ms(at.landed), ms(at.locked), ms(at.served))
	if at.landed.Sub(at.gone) < 100*time.Millisecond {
		t.Error("the write did not outlive the process: nothing is shown")
	}
	if at.served.Before(at.locked) {
		t.Error("a request was served before the lock was there")
	}
}
