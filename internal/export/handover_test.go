package export

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// isFree tells whether another process could serve the image.
func isFree(t *testing.T, path string) bool {
	t.Helper()
	file, err := blk.OpenFile(t.Context(), path, blk.FileOptions{Identity: "another"})
	var locked *blk.LockedError
	switch {
	case errors.As(err, &locked):
		return false
	case err != nil:
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

func wantFree(t *testing.T, path, when string, want bool) {
	t.Helper()
	if got := isFree(t, path); got != want {
		t.Fatalf("%s: the image is free: %v, want %v", when, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMigrationGivesTheImageFree follows a migration's source: a pause keeps the image, the end of a migration gives it
// free before the last ring's answer, a guest that goes on takes it again.
func TestMigrationGivesTheImageFree(t *testing.T) {
	r, path := newRegistry(t), newImage(t, 1<<20)
	socket := filepath.Join(t.TempDir(), "s")
	start(t, r, "socket-path="+socket+",lock-timeout=30s,blk-file="+path)
	g := clitest.Attach(t, socket, vhostusertest.Options{Queues: 2})
	write := func() {
		t.Helper()
		if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
			t.Fatalf("write: status %d", status)
		}
	}
	write()
	must(t, g.Stop())
	wantFree(t, path, "paused", false)
	must(t, g.Start())
	for range 3 {
		must(t, g.StartLog())
		write()
		must(t, g.EnableQueue(0, false))
		must(t, g.EnableQueue(1, false))
		must(t, g.StopQueue(1))
		wantFree(t, path, "with one ring left", false)
		must(t, g.StopQueue(0))
		wantFree(t, path, "after a migration", true)

		// The migration has failed, the guest goes on. The image may still be at the destination.
		other, err := blk.OpenFile(t.Context(), path, blk.FileOptions{Identity: "destination"})
		must(t, err)
		must(t, g.StopLog())
		must(t, g.Start())
		g.Submit(0, clitest.Out, 0, make([]byte, 512))
		g.WantPending(0, 100*time.Millisecond, "served while the destination has the image")
		must(t, other.Close())
		g.WantDone(0, "after the destination has ended")
		wantFree(t, path, "going on", false)
	}
	must(t, g.StartLog())
	must(t, g.StopLog()) // cancelled
	must(t, g.Stop())
	wantFree(t, path, "paused after a cancelled migration", false)
}

// TestWaitingDestinationMigratesOn: a guest whose destination never got the image leaves it, too.
func TestWaitingDestinationMigratesOn(t *testing.T) {
	r, path := newRegistry(t), newImage(t, 1<<20)
	source, err := blk.OpenFile(t.Context(), path, blk.FileOptions{Identity: "source"})
	must(t, err)
	socket := filepath.Join(t.TempDir(), "s")
	start(t, r, "socket-path="+socket+",incoming=on,lock-timeout=30s,blk-file="+path)
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	must(t, g.StartLog())
	must(t, g.Stop())
	must(t, source.Close())
	wantFree(t, path, "after it left without having had the image", true)
	must(t, g.StopLog())
	must(t, g.Start())
	if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
}

// TestFailedFlushKeepsTheImage: what the guest was told is not stable, so nobody else may have the disk.
func TestFailedFlushKeepsTheImage(t *testing.T) {
	path := newImage(t, 1<<20)
	s := writeUnstable(t, path)
	must(t, s.guest.StartLog())
	must(t, s.guest.Stop())
	wantFree(t, path, "after a failed flush", false)
	s.losesWrites(t)
	wantFree(t, path, "after the session", false)
}
