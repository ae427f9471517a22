package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
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
		if took := time.Since(begin); status != 1 || took > 9*time.Second || !oneLine(p.Stderr()) || !strings.Contains(p.Stderr(), "has ended") {
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

// children lists the processes whose command line names a directory, without zombies, which have none.
func children(t *testing.T, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(dir)) { // else it has ended
			pids = append(pids, strings.Split(path, "/")[2])
		}
	}
	return pids
}

// awaitNoChildren waits for the end of all, who hear of their parent's.
func awaitNoChildren(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(clitest.Patience); len(children(t, dir)) > 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes left: %v", children(t, dir))
		}
	}
}

// startedBench starts a comparison, which does not end unless args say so, and waits until its back-ends listen.
func startedBench(t *testing.T, o clitest.Options, dir string, args ...string) *clitest.Process {
	t.Helper()
	p := clitest.Start(t, o, append([]string{"bench", "--store=null:1GiB", "--compare", "--runtime=1h"}, args...)...)
	for deadline := time.Now().Add(clitest.Patience); ; time.Sleep(2 * time.Millisecond) {
		sockets, err := filepath.Glob(dir + "/*/*.sock")
		if err != nil {
			t.Fatal(err)
		}
		if len(sockets) == 3 && len(children(t, dir)) == 3 {
			return p
		}
		if time.Now().After(deadline) || !p.Running() {
			t.Fatalf("sockets %v, %s", sockets, p.Stderr())
		}
	}
}

func TestBenchInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		o, dir := temporary(t)
		p := startedBench(t, o, dir)
		p.Signal(sig)
		if status := p.Status(); status != 1 || !oneLine(p.Stderr()) || !strings.Contains(p.Stderr(), "interrupted") {
			t.Errorf("%v: status %d, %q", sig, status, p.Stderr())
		}
		awaitNoChildren(t, dir)
		checkNothingLeft(t, dir)
	}
}

// Under nohup(1) a hang-up means nothing.
func TestBenchUnderNohup(t *testing.T) {
	o, dir := temporary(t)
	o.Wrap = []string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}
	p := startedBench(t, o, dir, "--runtime=1s", "--rounds=1", "--depth=1")
	p.Signal(syscall.SIGHUP)
	if status := p.Status(); status != 0 {
		t.Errorf("status %d, %q", status, p.Stderr())
	}
}

// Killed, it cannot end its children; they do it themselves.
func TestBenchKilled(t *testing.T) {
	dir := t.TempDir()
	p := startedBench(t, clitest.Options{Env: []string{"TMPDIR=" + dir}}, dir)
	p.Signal(syscall.SIGKILL)
	p.Status()
	awaitNoChildren(t, dir)
}

// A back-end that never answers does not keep it from ending.
func TestBenchInterruptedInAHandshake(t *testing.T) {
	o, _ := temporary(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := clitest.Start(t, o, "bench", "--socket="+socket)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	begin := time.Now()
	p.Signal(syscall.SIGINT)
	status := p.Status()
	if took := time.Since(begin); status != 1 || took > 10*time.Second {
		t.Errorf("status %d after %v", status, took)
	}
}
