package scale

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// usage is what a process holds.
type usage struct {
	private int // RssAnon + RssFile, KiB
	fds     int
	maps    int // shared mappings: guests' memory, in-flight records
	threads int
}

func (u usage) String() string {
	return fmt.Sprintf("%d KiB private, %d descriptors, %d shared mappings, %d threads", u.private, u.fds, u.maps, u.threads)
}

func use(t *testing.T, pid int) usage {
	t.Helper()
	var u usage
	var err error
	if u.private, err = guest.PrivateMemory(pid); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	u.fds, u.threads = entries(t, proc+"fd"), entries(t, proc+"task")
	maps, err := os.ReadFile(proc + "maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(maps) {
		if fields := strings.Fields(string(line)); len(fields) > 1 && strings.HasSuffix(fields[1], "s") {
			u.maps++
		}
	}
	return u
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// switches counts the context switches of a process from here on; its threads come and go.
type switches struct {
	pid  int
	last map[int]int
}

func (s *switches) since(t *testing.T) int {
	t.Helper()
	now, err := guest.ContextSwitches(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for tid, n := range now {
		sum += n - s.last[tid]
	}
	s.last = now
	return sum
}

// eventually waits for what must come true.
func eventually(t *testing.T, what string, patience, every time.Duration, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(every) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
