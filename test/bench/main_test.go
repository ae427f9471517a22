package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// program is the vublk of the tree.
var program string

func TestMain(m *testing.M) {
	var err error
	if program, err = guest.BuildVublk(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

// TestBadOptions: what cannot be is said before anything begins.
func TestBadOptions(t *testing.T) {
	good := options{backendCPU: 0, driverCPU: 1, vublk: program, qemu: qemu, fio: fio, dry: true, dir: t.TempDir()}
	for part, spoil := range map[string]func(*options){
		"want two CPUs":           func(o *options) { o.driverCPU = 0 },
		"-only":                   func(o *options) { o.only = "(" },
		"no contest's name":       func(o *options) { o.only = "nothing" },
		"positive":                func(o *options) { o.rounds = -1 },
		"whole standard set":      func(o *options) { o.document, o.only = "x", "null" },
		"run make build":          func(o *options) { o.dry, o.vublk = false, "no-such-vublk" },
		"-dir":                    func(o *options) { o.dir = "/nonexistent" },
		"qemu-utils":              func(o *options) { o.dry, o.qemu = false, "no-such-qemu" },
		"package fio":             func(o *options) { o.dry, o.fio = false, "no-such-fio" },
		"record_test.go: invalid": func(o *options) { o.dry, o.recorded = false, "record_test.go" },
	} {
		o := good
		spoil(&o)
		err := run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
	if left, err := os.ReadDir(good.dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
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
	s.probe = nil // tests run beside others: each round counts
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
