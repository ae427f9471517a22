package supervise_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// replace gives the program's name to another file.
func (r *rig) replace(content []byte, mode os.FileMode) {
	r.Helper()
	another := filepath.Join(filepath.Dir(r.path), "another")
	if err := os.WriteFile(another, content, mode); err != nil {
		r.Fatal(err)
	}
	if err := os.Remove(r.path); err != nil {
		r.Fatal(err)
	}
	if err := os.Symlink(another, r.path); err != nil {
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
	r := supervised(t, 0, append(append([]string{"inherit store:a program ready die"}, pauses()...), "inherit program ready await")...)
	r.await("pause=320ms")
	r.replace(program, 0o700)
	r.signals <- syscall.SIGUSR2
	r.await("the next worker is the new program")
	r.until("program another")
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw(strings.Split("kept ,program "+filepath.Base(self)+strings.Repeat(",kept a", 7)+",program another,stopped", ",")...)
}

// TestRollBackInPause: when that one is no program, or dies as well, the old one is started again.
func TestRollBackInPause(t *testing.T) {
	for reason, mode := range map[string]os.FileMode{"cannot be started": 0o600, "died before it was ready": 0} {
		r := supervised(t, 0, append(pauses(), "inherit die", "inherit program ready await")...)
		r.await("pause=320ms")
		if mode != 0 {
			r.replace([]byte("nothing"), mode)
		}
		r.signals <- syscall.SIGUSR2
		r.await("the new program " + reason)
		r.until("program")
		r.signals <- syscall.SIGTERM
		r.stops()
	}
}
