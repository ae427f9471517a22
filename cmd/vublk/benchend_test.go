package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// A back-end that dies is noticed by the end of its connection, long before one would be that only takes its time.
func TestBenchBackendDies(t *testing.T) {
	for _, driver := range []string{"polling", "sleeping"} {
		o, _ := temporary(t)
		backend, image, socket := serveImage(t, clitest.Options{}, 1<<20)
		p := clitest.Start(t, o, "bench", "--socket="+socket, "--runtime=1h", "--depth=4", "--rw=write", "--destroy-data", "--driver="+driver)
		for deadline := time.Now().Add(clitest.Patience); !written(t, image); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) || !p.Running() {
				t.Fatalf("nothing is written: %s", p.Stderr())
			}
		}
		backend.Signal(syscall.SIGKILL)
		backend.Status()
		begin := time.Now()
		status := p.Status()
		if took := time.Since(begin); status != 1 || took > 5*time.Second || !oneLine(p.Stderr()) || !strings.Contains(p.Stderr(), "has ended") {
			t.Errorf("%s: status %d after %v, %q", driver, status, took, p.Stderr())
		} else {
			t.Logf("%s: noticed after %v", driver, took)
		}
	}
}

// written tells whether a sparse file has anything in it.
func written(t *testing.T, path string) bool {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks > 0
}
