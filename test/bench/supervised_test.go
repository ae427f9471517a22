package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// TestSupervisedWorkerIsMeasured: of a supervised vublk the load generator finds the process that does the work. Of the
// second one it says nothing rather than something wrong: the socket is still the first one's.
func TestSupervisedWorkerIsMeasured(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	p, err := duel.StartProcess(context.Background(), -1, filepath.Join(dir, "log"),
		[]string{program, "serve", "--supervise", "--store=null:1GiB", "--socket-path=" + socket}, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	c := bench.Config{Socket: socket, Duration: 20 * time.Millisecond}
	r, err := bench.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if parent := parentOf(t, r.BackendPID); parent != p.PID() || r.BackendCPU <= 0 {
		t.Fatalf("measured process %d, a child of %d, for %v; the supervisor is %d", r.BackendPID, parent, r.BackendCPU, p.PID())
	}
	if err := syscall.Kill(r.BackendPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r, err = bench.Run(context.Background(), c)
	if err != nil || r.Requests == 0 {
		t.Fatalf("%d requests after the worker's death, %v", r.Requests, err)
	}
	if r.BackendPID != 0 || r.BackendCPU != 0 {
		t.Errorf("measured process %d, which is dead, for %v", r.BackendPID, r.BackendCPU)
	}
}

// parentOf reads field 4 of /proc/PID/stat.
func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	if _, err := fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}
