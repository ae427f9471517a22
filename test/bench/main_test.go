package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// program is the vublk of the tree.
var program string

func TestMain(m *testing.M) {
	repo, err := guest.RepoRoot()
	if err == nil {
		program, err = guest.BuildVublk(repo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

// testSite is one with short turns, not so short that a machine with too much to do does nothing in one.
func testSite(t *testing.T) *site {
	t.Helper()
	s, err := newSite(options{
		vublk: program, qemu: qemu, fio: fio, backendCPU: 0, driverCPU: 1, dir: t.TempDir(), rounds: 2, duration: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
