package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// cpusByThread returns the CPUs that the threads of a process may run on, by the threads' names: two have the same one.
func cpusByThread(t *testing.T, pid int) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	cpus := map[string][]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		switch {
		case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH):
			continue // has ended
		case err != nil:
			t.Fatal(err)
		}
		field := func(key string) string {
			_, text, _ := strings.Cut(string(b), key+":\t")
			text, _, _ = strings.Cut(text, "\n")
			return text
		}
		name := field("Name")
		if strings.HasPrefix(name, "iou-wrk-") {
			name = "io-wq"
		}
		cpus[name] = append(cpus[name], field("Cpus_allowed_list"))
	}
	return cpus
}

// TestWorkersOnCPUs: each worker and its io-wq threads stay on the worker's CPU, in the order of the list; all other threads
// run where the process may.
func TestWorkersOnCPUs(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := range 1024 {
		if may.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	all := blk.FormatCPUs(cpus)
	cpus = cpus[:min(len(cpus), 4)]
	slices.Reverse(cpus)
	p, _, socket := serveImage(t, clitest.Options{}, 1<<20, "--cpus="+blk.FormatCPUs(cpus))
	guest := clitest.Attach(t, socket, vhostusertest.Options{Queues: len(cpus)})
	data := make([]byte, 512)
	if s := guest.Do(0, clitest.Out, 0, data); s != clitest.StatusOK {
		t.Fatalf("write: status %d", s)
	}
	if s := guest.Do(0, clitest.Flush, 0, nil); s != clitest.StatusOK { // io_uring leaves an fdatasync to an io-wq thread
		t.Fatalf("flush: status %d", s)
	}
	got := cpusByThread(t, p.PID())
	for i, cpu := range cpus {
		name := "worker-" + itoa(i)
		if !slices.Equal(got[name], []string{itoa(cpu)}) {
			t.Errorf("%s may run on CPUs %v, want %d", name, got[name], cpu)
		}
		delete(got, name)
	}
	if home := itoa(cpus[0]); !slices.Contains(got["io-wq"], home) {
		t.Errorf("io-wq threads on CPUs %v, want one on %s", got["io-wq"], home)
	}
	delete(got, "io-wq")
	if len(got) == 0 {
		t.Error("no other threads")
	}
	for name, lists := range got {
		for _, list := range lists {
			if list != all {
				t.Errorf("%s may run on CPUs %s, want %s", name, list, all)
			}
		}
	}
	if _, extra := got["worker-"+itoa(len(cpus))]; extra {
		t.Error("more workers than CPUs")
	}
	p.Stop()
}
