package leaktest

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a difference must persist to count as a leak. Tests that leave nothing do not wait at all.
const patience = time.Minute

// snapshot is what the process holds at one moment.
type snapshot struct {
	fds        []string // "7 -> anon_inode:[eventfd]"
	maps       []string // "shared /memfd:guest (deleted)"
	goroutines int
}

// Main runs the tests of a package and exits: with the tests' status, or with 1 when they passed and leaked.
func Main(m *testing.M) {
	wakePoller()
	before := take()
	code := m.Run()
	if code == 0 {
		if leaks := settle(before); len(leaks) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: leaked by the tests of this package:\n  %s\n", strings.Join(leaks, "\n  "))
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			code = 1
		}
	}
	os.Exit(code)
}

// MainAfter is Main for tests that need something made first; when that fails, they do.
func MainAfter(m *testing.M, prepare func() error) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: prepare the tests of this package:", err)
		os.Exit(1)
	}
	Main(m)
}

// wakePoller makes the runtime open its poller's descriptors now, so that they count as there from the start.
func wakePoller() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err) // no descriptor to be had: no test would run
	}
	_, _ = r.Close(), w.Close()
}

// settle compares with before until nothing is left over or patience ends.
func settle(before snapshot) []string {
	deadline := time.Now().Add(patience)
	for {
		runtime.GC()
		leaks := before.diff(take())
		if len(leaks) == 0 || time.Now().After(deadline) {
			return leaks
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s snapshot) diff(now snapshot) []string {
	var leaks []string
	for _, fd := range surplus(s.fds, now.fds) {
		leaks = append(leaks, "descriptor "+fd)
	}
	for _, m := range surplus(s.maps, now.maps) {
		leaks = append(leaks, "mapping "+m)
	}
	if now.goroutines > s.goroutines && !fuzzing() {
		leaks = append(leaks, fmt.Sprintf("%d goroutines", now.goroutines-s.goroutines))
	}
	return leaks
}

// fuzzing tells whether the fuzzing engine runs: it leaves a goroutine of os/signal behind.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

// surplus returns the lines that b has more often than a.
func surplus(a, b []string) []string {
	count := map[string]int{}
	for _, line := range a {
		count[line]++
	}
	var more []string
	for _, line := range b {
		if count[line]--; count[line] < 0 {
			more = append(more, line)
		}
	}
	slices.Sort(more)
	return more
}

func take() snapshot {
	debug.FreeOSMemory()
	return snapshot{fds: openFDs(), maps: sharedMaps(), goroutines: runtime.NumGoroutine()}
}

func openFDs() []string {
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		panic(err) // a constant pattern
	}
	var fds []string
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || ours(to) {
			continue
		}
		fds = append(fds, filepath.Base(link)+" -> "+to)
	}
	return fds
}

// ours tells the descriptors of the Go runtime (its poller) and of the test framework (the fuzzer's pipes and cache).
func ours(target string) bool {
	return strings.Contains(target, "[eventpoll]") || strings.Contains(target, "/fuzz/")
}

func sharedMaps() []string {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		panic(err) // without procfs nothing here can be tested
	}
	defer func() { _ = f.Close() }()
	var maps []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 || !strings.HasSuffix(fields[1], "s") || strings.Contains(sc.Text(), "/fuzz") {
			continue
		}
		maps = append(maps, fields[1]+" "+strings.Join(fields[5:], " "))
	}
	return maps
}
