package lock

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// TestHandOver: a second vublk waits, says for whom, and serves what the first one wrote once that has ended.
func TestHandOver(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		for name, sameSocket := range map[string]bool{"another socket": false, "the same socket": true} {
			t.Run(name, func(t *testing.T) {
				first, socket := serving(t, i.path)
				g := attach(t, socket)
				write(t, g, 0, pattern('1', 4096))
				next := filepath.Join(t.TempDir(), "s")
				if sameSocket {
					next = socket
				}
				second := start(t, serve(next, i.path, lockTimeout)...)
				second.await("waiting for the image's lock")
				second.await(named("vublk", first))
				if !sameSocket {
					silent(t, next)
				}
				write(t, g, 0, pattern('2', 4096)) // the first still has it
				if strings.Contains(second.Log(), "msg=listening") {
					t.Error("two serve at the same time")
				}
				first.end()
				second.await("msg=listening")
				h := attach(t, next)
				expect(t, "read by the second", read(t, h, 0, 4096), pattern('2', 4096))
				write(t, h, 0, pattern('3', 4096))
				second.end()
				expect(t, "the image", i.bytes(t, 4096), pattern('3', 4096))
			})
		}
	})
}

// TestIncoming: a migration's destination starts its ring while the source has the image. It serves when the source has
// let go, not before.
func TestIncoming(t *testing.T) {
	onImages(t, func(t *testing.T, i image) {
		source, from := serving(t, i.path)
		g := attach(t, from)
		write(t, g, 0, pattern('1', 4096))
		destination, to := serving(t, i.path, "--incoming", lockTimeout)
		h := attach(t, to) // acknowledged at once
		h.Submit(0, clitest.Out, 0, pattern('3', 4096))
		destination.await("waiting for the image's lock")
		destination.await(named("vublk", source))
		h.WantPending(0, 300*time.Millisecond, "served while the source has the image")
		write(t, g, 0, pattern('2', 4096))
		expect(t, "while the source has the image", i.bytes(t, 4096), pattern('2', 4096))
		if err := g.Disconnect(); err != nil { // the source's front-end has migrated away
			t.Fatal(err)
		}
		h.WantDone(0, "after the source let go")
		vublkIsRefused(t, i.path, named("vublk", destination))
		destination.end()
		source.end()
		expect(t, "the image", i.bytes(t, 4096), pattern('3', 4096))
	})
}

// TestPausedSourceStaysOut: a source that lost its front-end and gets it back while the destination has the image
// executes nothing.
func TestPausedSourceStaysOut(t *testing.T) {
	i := images[0].make(t)
	source, from := serving(t, i.path)
	g := attach(t, from)
	write(t, g, 0, pattern('1', 4096))
	if err := g.Disconnect(); err != nil {
		t.Fatal(err)
	}
	source.await("front-end has gone")
	destination, _ := serving(t, i.path)
	back := attach(t, from)
	back.Submit(0, clitest.Out, 0, pattern('x', 4096))
	source.await(named("vublk", destination))
	back.WantPending(0, 300*time.Millisecond, "served while the destination has the image")
	expect(t, "the image", i.bytes(t, 4096), pattern('1', 4096))
	destination.end()
	back.WantDone(0, "after the destination let go")
	source.end()
}
