package lock

import (
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// TestRelease: an operator has a paused guest's image given free; the guest gets it back when it goes on and the other has
// ended, and executes nothing meanwhile.
func TestRelease(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		first, socket := serving(t, i.path)
		g := attach(t, socket)
		write(t, g, 0, pattern('1', 4096))
		if status, out := run(t, vublk, "release", socket); status != 1 || !strings.Contains(out, "ring 0 is started: pause the guest first") {
			t.Fatalf("released under a running guest: status %d, %s", status, out)
		}
		write(t, g, 0, pattern('2', 4096)) // nothing has happened to it
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		if status, out := run(t, vublk, "release", socket); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		second, to := serving(t, i.path, "--lock-timeout=0")
		h := attach(t, to)
		expect(t, "read by the second", read(t, h, 0, 4096), pattern('2', 4096))
		write(t, h, 0, pattern('3', 4096))
		if err := g.Start(); err != nil {
			t.Fatal(err)
		}
		g.Submit(0, clitest.Out, 0, pattern('4', 4096))
		first.await("waiting for the image's lock")
		g.WantPending(0, 300*time.Millisecond, "served while another has the image")
		expect(t, "read by the second", read(t, h, 0, 4096), pattern('3', 4096))
		second.end()
		g.WantDone(0, "not served after the other has ended")
		first.end()
		expect(t, "the image", i.bytes(t, 4096), pattern('4', 4096))
	})
}

// TestTakeOverKeepsTheLock: while an export changes hands nobody else gets its image.
func TestTakeOverKeepsTheLock(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		old, socket := serving(t, i.path)
		g := attach(t, socket)
		write(t, g, 0, pattern('1', 4096))
		rival := start(t, serve(socket+".rival", i.path, lockTimeout)...)
		rival.await("waiting for the image's lock")
		var last *process
		for n := range 5 {
			last = start(t, serve(socket, i.path, "--take-over")...)
			last.await("session resumed")
			write(t, g, 0, pattern(byte('2'+n), 4096))
			for deadline := time.Now().Add(patience); old.Running(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the old process does not end:\n%s", old.Log())
				}
			}
			old.end() // well
			old = last
		}
		if strings.Contains(rival.Log(), "msg=listening") {
			t.Error("two serve at the same time")
		}
		last.end()
		rival.await("msg=listening")
		rival.end()
		expect(t, "the image", i.bytes(t, 4096), pattern('6', 4096))
	})
}
