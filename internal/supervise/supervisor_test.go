package supervise_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/supervise"
)

const patience = 20 * time.Second

// rig is a supervisor that runs.
type rig struct {
	*testing.T
	path    string // of the program
	diary   string
	log     *log
	signals chan os.Signal
	ended   chan result
}

type result struct {
	status int
	err    error
}

type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// supervised starts a supervisor whose workers do what the lines say, one after the other.
func supervised(t *testing.T, limit int, lives ...string) *rig {
	t.Helper()
	return supervisedFor(t, supervise.Options{Limit: limit}, lives...)
}

func supervisedFor(t *testing.T, o supervise.Options, lives ...string) *rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &rig{
		T: t, path: filepath.Join(dir, "program"), diary: filepath.Join(dir, "diary"), log: &log{},
		signals: make(chan os.Signal, 8), ended: make(chan result, 1),
	}
	if err := os.Symlink(self, r.path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lives"), []byte(strings.Join(lives, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(livesVariable, filepath.Join(dir, "lives"))
	t.Setenv(diaryVariable, r.diary)
	o.Path, o.Log = r.path, slog.New(slog.NewTextHandler(r.log, nil))
	s := supervise.New(o)
	go func() {
		status, err := s.Run(r.signals)
		r.ended <- result{status, err}
	}()
	return r
}

// end waits for the supervisor's end.
func (r *rig) end() result {
	r.Helper()
	select {
	case e := <-r.ended:
		return e
	case <-time.After(patience):
		r.Fatalf("the supervisor does not end:\n%s", r.log)
		return result{}
	}
}

// await waits for a line in the log.
func (r *rig) await(text string) {
	r.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(r.log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.signals <- syscall.SIGTERM
			r.Fatalf("never logged %q, but:\n%s", text, r.log)
		}
	}
}

// saw compares what the workers have written with what they should have.
func (r *rig) saw(want ...string) {
	r.Helper()
	b, err := os.ReadFile(r.diary)
	if got := strings.TrimSpace(string(b)); err != nil || got != strings.Join(want, "\n") {
		r.Errorf("the workers saw\n%s, %v; want\n%s\nlog:\n%s", got, err, strings.Join(want, "\n"), r.log)
	}
}

// TestRestart: what a worker has had kept comes to the next one, and to the one after that, until it is removed.
func TestRestart(t *testing.T) {
	r := supervised(t, 0,
		"inherit store:a store:b ready die",
		"inherit ready store:c remove:a store:b die",
		"inherit die", // before it is ready
		"inherit ready exit:0")
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "kept a,b", "kept b,c", "kept b,c")
	if n := strings.Count(r.log.String(), "the worker has died"); n != 3 {
		t.Errorf("%d deaths", n)
	}
}

// TestOwnEnd: a worker that ends by its own choice ends the supervisor, with its status; but not with a failure after it was
// ready, which may be one of the moment.
func TestOwnEnd(t *testing.T) {
	for lives, status := range map[string]int{
		"inherit exit:2":                        2,
		"inherit ready exit:0":                  0,
		"inherit ready exit:1\ninherit exit:0":  0,
		"inherit die\ninherit exit:3":           3,
		"inherit ready die\ninherit ready exit": 0,
	} {
		r := supervised(t, 0, strings.Split(lives, "\n")...)
		if e := r.end(); e.status != status || e.err != nil {
			t.Errorf("%q: %+v, want status %d", lives, e, status)
		}
	}
}

// TestNumbers: what the worker expects at its numbers has them, whatever number the program's own descriptor had here.
func TestNumbers(t *testing.T) {
	r := supervisedFor(t, supervise.Options{Inherited: make([]*os.File, 100)}, "inherit ready exit:0")
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v\n%s", e, r.log)
	}
}

// TestLimit: too many deaths within a minute are the end.
func TestLimit(t *testing.T) {
	r := supervised(t, 3, "inherit ready die", "inherit ready die", "inherit ready die", "inherit ready die", "inherit exit:0")
	e := r.end()
	if e.err == nil || !strings.Contains(e.err.Error(), "died 4 times") || !strings.Contains(e.err.Error(), "SIGKILL") {
		t.Fatalf("%+v", e)
	}
}

// TestBackOff: workers that die before they are ready are started again after pauses that grow.
func TestBackOff(t *testing.T) {
	begun := time.Now()
	r := supervised(t, 0, "inherit die", "inherit die", "inherit die", "inherit die", "inherit ready exit:0")
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v", e)
	}
	if took := time.Since(begun); took < 150*time.Millisecond { // 10 + 20 + 40 + 80 ms
		t.Errorf("four deaths and new starts took %v: without a pause", took)
	}
}

// TestStop: SIGTERM reaches the worker, also one that is just being started.
func TestStop(t *testing.T) {
	r := supervised(t, 0, "inherit ready await")
	r.await("worker started")
	for deadline := time.Now().Add(patience); !r.wrote("kept"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not begin")
		}
	}
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v", e)
	}
	r.saw("kept ", "stopped")
}

func (r *rig) wrote(text string) bool {
	b, err := os.ReadFile(r.diary)
	return err == nil && strings.Contains(string(b), text)
}

// begin waits until the first worker is at work.
func (r *rig) begin() {
	r.Helper()
	r.until("kept")
}

// until waits until a worker has written text.
func (r *rig) until(text string) {
	r.Helper()
	for deadline := time.Now().Add(patience); !r.wrote(text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("no worker writes %q:\n%s", text, r.log)
		}
	}
}

// TestUpgrade: the new worker gets what the old one had kept, the last things too.
func TestUpgrade(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready await store:b", "inherit ready await")
	r.begin()
	r.signals <- syscall.SIGUSR2
	r.await("handed over")
	for deadline := time.Now().Add(patience); !r.wrote("kept a,b"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new worker does not begin")
		}
	}
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v", e)
	}
	r.saw("kept ", "handed over", "kept a,b", "stopped")
}

// TestRollBack: a new program that does not get ready is replaced by the old one; one that does not even start changes nothing.
func TestRollBack(t *testing.T) {
	r := supervised(t, 0,
		"inherit store:a ready await",
		"exit:1",              // the first upgrade
		"inherit die",         // the second one
		"inherit ready await", // the old program again
	)
	r.begin()
	r.signals <- syscall.SIGUSR2
	r.await("the new program does not start")
	r.signals <- syscall.SIGUSR2
	r.await("the old one takes its place again")
	for deadline := time.Now().Add(patience); strings.Count(r.read(), "kept a") < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the old program does not begin again")
		}
	}
	r.signals <- syscall.SIGTERM
	r.end()
	r.saw("kept ", "handed over", "kept a", "kept a", "stopped")
}

func (r *rig) read() string {
	b, _ := os.ReadFile(r.diary)
	return string(b)
}

// TestNoProgram: an upgrade to nothing changes nothing.
func TestNoProgram(t *testing.T) {
	r := supervised(t, 0, "inherit ready await")
	r.begin()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGUSR2
	r.await("the program cannot be started")
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v", e)
	}
}

// TestStopDuringUpgrade: SIGTERM while the old worker takes its time ends the new one, too.
func TestStopDuringUpgrade(t *testing.T) {
	r := supervised(t, 0, "inherit ready stop", "inherit ready await")
	r.begin()
	r.signals <- syscall.SIGUSR2
	r.await("the old one hands over")
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "stopped", "kept ", "stopped")
}

// TestNotHeard: a worker learns that its supervisor does not hear it any more, and the next one is heard again.
func TestNotHeard(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready garble die", "inherit store:b ready die", "inherit exit:0")
	if e := r.end(); e.status != 0 || e.err != nil {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "heard false", "kept a", "kept a,b")
}
