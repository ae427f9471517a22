package supervise_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/supervise"
)

// pause is time enough for a test to do something while no worker runs.
const pause = 2 * time.Second

// another writes a program of that name.
func another(t *testing.T, content []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "another")
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// replace gives the program's name to another file.
func (r *rig) replace(path string) {
	r.Helper()
	if err := os.Remove(r.path); err != nil {
		r.Fatal(err)
	}
	if err := os.Symlink(path, r.path); err != nil {
		r.Fatal(err)
	}
}

// TestUpgradeInPause: a program that dies again and again is mended by another one, which SIGUSR2 names while none runs.
func TestUpgradeInPause(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	next := another(t, program, 0o700)
	r := supervisedFor(t, supervise.Options{Pause: pause}, "inherit store:a program ready die", "inherit die", "inherit program ready await")
	r.await("pause=2s")
	r.replace(next)
	r.signals <- syscall.SIGUSR2
	r.await("the next worker is the new program")
	r.until("program another")
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw(strings.Split("kept ,program "+filepath.Base(self)+strings.Repeat(",kept a", 2)+",program another,stopped", ",")...)
}

// TestRollBackInPause: when that one is no program, or dies as well, the old one is started again.
func TestRollBackInPause(t *testing.T) {
	for reason, next := range map[string]string{"cannot be started": another(t, []byte("nothing"), 0o600), "died before it was ready": ""} {
		lives := []string{"inherit die", "inherit program ready await"}
		if next == "" {
			lives = slices.Insert(lives, 0, lives[0])
		}
		r := supervisedFor(t, supervise.Options{Pause: pause}, lives...)
		r.await("pause=2s")
		if next != "" {
			r.replace(next)
		}
		r.signals <- syscall.SIGUSR2
		r.await("the new program " + reason)
		r.until("program")
		r.signals <- syscall.SIGTERM
		r.stops()
	}
}
