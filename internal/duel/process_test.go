package duel

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func someCPU(t *testing.T) int {
	t.Helper()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; ; cpu++ {
		if may.IsSet(cpu) {
			return cpu
		}
	}
}

func TestProcess(t *testing.T) {
	dir, cpu := t.TempDir(), someCPU(t)
	socket := filepath.Join(dir, "a socket")
	p, err := StartProcess(context.Background(), cpu, filepath.Join(dir, "log"), program(t, "serve", socket), socket)
	if err != nil {
		t.Fatal(err)
	}
	if missing, err := notListening([]string{socket}); missing != "" || err != nil {
		t.Errorf("it does not listen on %q, %v", missing, err)
	}
	var has unix.CPUSet
	if err := unix.SchedGetaffinity(p.PID(), &has); err != nil || has.Count() != 1 || !has.IsSet(cpu) {
		t.Errorf("it may run on %d CPUs, %v; want CPU %d", has.Count(), err, cpu)
	}
	if !p.Running() || !strings.Contains(p.Log(), "I am serve") {
		t.Errorf("running %v, log %q", p.Running(), p.Log())
	}
	if err := p.Stop(); err != nil || p.Running() {
		t.Errorf("stopped: %v, still running: %v", err, p.Running())
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

// TestProcessLeavesItsThreadAsItWas: the affinity is the child's alone.
func TestProcessLeavesItsThreadAsItWas(t *testing.T) {
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &before); err != nil {
		t.Fatal(err)
	}
	if before.Count() < 2 {
		t.Fatal("one CPU shows nothing here: the test wants two")
	}
	dir := t.TempDir()
	for range 3 {
		p, err := StartProcess(context.Background(), someCPU(t), filepath.Join(dir, "log"), []string{"true"})
		if err != nil {
			t.Fatal(err)
		}
		<-p.ended
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range threads {
		tid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedGetaffinity(tid, &after); err == nil && after != before {
			t.Errorf("thread %d may run on %d CPUs, not %d", tid, after.Count(), before.Count())
		}
	}
}

func TestProcessThatFails(t *testing.T) {
	dir := t.TempDir()
	log, socket := filepath.Join(dir, "log"), filepath.Join(dir, "s")
	start := func(ctx context.Context, cpu int, argv ...string) error {
		p, err := StartProcess(ctx, cpu, log, argv, socket)
		if err == nil {
			p.Kill()
		}
		return err
	}
	want(t, start(context.Background(), -1, "/nonexistent"), "start /nonexistent", "no such file")
	want(t, start(context.Background(), 1000, "true"), "CPU 1000")
	want(t, start(context.Background(), -1, program(t, "die", "--a b", "--c")...), "exit status 3", "'--a b' --c", "no such disk")

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := start(ctx, -1, program(t, "silent")...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v of a process that never listens", err)
	}
}

func TestProcessThatDoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	p, err := StartProcess(context.Background(), -1, filepath.Join(dir, "log"), program(t, "deaf", socket), socket)
	if err != nil {
		t.Fatal(err)
	}
	p.patience = 20 * time.Millisecond
	want(t, p.Stop(), "within 20ms of SIGTERM", "I am deaf")
	if p.Running() {
		t.Error("it runs on")
	}
}

func TestProcessDiesWithUs(t *testing.T) {
	dir := t.TempDir()
	argv := program(t, "parent", filepath.Join(dir, "s"))
	parent := exec.Command(argv[0], argv[1:]...)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("it has outlived its parent")
		}
	}
}

// alive tells of a process whether it is one and no zombie.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestLogIsItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 3*logTail)+"\nthe end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := (&Process{log: path}).Log()
	if len(log) > logTail || !strings.HasSuffix(log, "x\nthe end") {
		t.Errorf("%d bytes of log: …%q", len(log), log[max(0, len(log)-20):])
	}
}

func TestShell(t *testing.T) {
	argv := []string{"a", "", "b c", "it's", "--x=/y,z=1.5", "$HOME", "a*"}
	line := shell(argv)
	if line != `a '' 'b c' 'it'\''s' --x=/y,z=1.5 '$HOME' 'a*'` {
		t.Error(line)
	}
	out, err := exec.Command("sh", "-c", "printf '%s\n' "+line).Output()
	if err != nil || string(out) != strings.Join(argv, "\n")+"\n" {
		t.Errorf("a shell reads %q, %v", out, err)
	}
}
