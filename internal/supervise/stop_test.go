package supervise_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/supervise"
)

// stops demands an end with status 0.
func (r *rig) stops() {
	r.Helper()
	if e := r.end(); e.status != 0 || e.err != nil {
		r.Fatalf("%+v\n%s", e, r.log)
	}
}

// longPause is one that nothing ends but what the test does.
const longPause = 5 * time.Second

// TestStopEarly: a worker that does not listen to signals yet is told when it does.
func TestStopEarly(t *testing.T) {
	r := supervised(t, 0, "slow inherit ready await")
	r.await("worker started")
	r.signals <- syscall.SIGHUP // which would kill it, too
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw("kept ", "stopped")
}

// TestStopInPause: what a dead worker has left is finished by one more, which begins at once.
func TestStopInPause(t *testing.T) {
	r := supervisedFor(t, supervise.Options{Pause: longPause}, "inherit store:a ready die", "inherit die", "inherit await", "inherit exit:7")
	r.await("pause=5s")
	begun := time.Now()
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw("kept ", "kept a", "kept a", "stopped")
	t.Logf("%v from the signal to the end", time.Since(begun))
}

// TestStopWithNothingLeft: when a dead worker has left nothing but a socket, its name goes and that is all.
func TestStopWithNothingLeft(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := supervisedFor(t, supervise.Options{Pause: longPause}, "inherit listen:"+socket+" ready die", "inherit die", "inherit exit:7")
	r.await("pause=5s")
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw("kept ", "kept listen")
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("its name is still there: %v", err)
	}
}

// TestGiveUpTakesNames: a supervisor that gives up leaves no name behind, but for one that is somebody else's by now.
func TestGiveUpTakesNames(t *testing.T) {
	for _, taken := range []bool{false, true} {
		socket := filepath.Join(t.TempDir(), "s")
		ready := make(chan struct{}, 8) // then the supervisor has the socket, and has looked at its name
		tell := func(fields ...string) {
			if slices.Contains(fields, resume.FieldReady+"=1") {
				ready <- struct{}{}
			}
		}
		r := supervisedFor(t, supervise.Options{Limit: 1, Tell: tell}, "inherit listen:"+socket+" ready gate:"+socket+".open die", "inherit ready die")
		select {
		case <-ready:
		case <-time.After(patience):
			t.Fatal("no worker is ready")
		}
		var other net.Listener
		if taken {
			must(t, os.Remove(socket))
			l, err := net.Listen("unix", socket)
			must(t, err)
			other = l
		}
		must(t, os.WriteFile(socket+".open", nil, 0o600))
		e := r.end()
		if e.err == nil || !strings.Contains(e.err.Error(), "giving up") {
			t.Fatalf("%+v\n%s", e, r.log)
		}
		if _, err := os.Lstat(socket); (err == nil) != taken {
			t.Errorf("somebody else has the name: %v; a look at it says %v", taken, err)
		}
		if taken {
			must(t, other.Close())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var successor = regexp.MustCompile(`the old one hands over" pid=(\d+)`)

// TestStopWithDeadSuccessor: a worker has handed over to one that is dead, and the signal has come meanwhile.
func TestStopWithDeadSuccessor(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready stop", "inherit ready await", "inherit await")
	r.begin()
	r.signals <- syscall.SIGUSR2
	r.await("the old one hands over")
	pid, err := strconv.Atoi(successor.FindStringSubmatch(r.log.String())[1])
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw("kept ", "stopped", "kept a", "stopped")
}

// TestStopDies: a worker that dies while it comes to its end has another one finish.
func TestStopDies(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready stop die", "inherit await")
	r.begin()
	r.signals <- syscall.SIGTERM
	r.stops()
	r.saw("kept ", "stopped", "kept a", "stopped")
}

// TestStopFails: a worker that has been told, and says by its status that it could not, has the last word.
func TestStopFails(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready stop exit:1", "inherit await")
	r.begin()
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.status != 1 || e.err != nil {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "stopped")
}

// TestStopTwice: a second signal ends everything at once, and one that is an echo of the first does not.
func TestStopTwice(t *testing.T) {
	r := supervised(t, 0, "inherit store:a ready deaf", "inherit await")
	r.begin()
	begun := time.Now()
	r.signals <- syscall.SIGTERM
	r.until("told to stop")
	var e result
	for ended := false; !ended; {
		r.signals <- syscall.SIGTERM
		select {
		case e = <-r.ended:
			ended = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	if took := time.Since(begun); took < 400*time.Millisecond || took > 5*time.Second {
		t.Errorf("it has taken %v", took)
	}
	if e.err == nil || !strings.Contains(e.err.Error(), "second signal") {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "told to stop")
}

// TestStopLate: a worker that does not come to its end is waited for no longer than that.
func TestStopLate(t *testing.T) {
	r := supervisedFor(t, supervise.Options{StopTime: 3 * time.Second}, "inherit store:a ready deaf", "inherit await")
	r.begin()
	r.signals <- syscall.SIGTERM
	if e := r.end(); e.err == nil || !strings.Contains(e.err.Error(), "gave up after 3s") {
		t.Fatalf("%+v\n%s", e, r.log)
	}
	r.saw("kept ", "told to stop")
}
