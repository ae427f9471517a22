package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// workerStarted is what a supervisor's log says of each worker.
var workerStarted = regexp.MustCompile(`msg="worker started" pid=(\d+)`)

// kill kills the worker of a supervised daemon, and waits until another one is ready.
func (h *host) kill() {
	h.t.Helper()
	all := workerStarted.FindAllStringSubmatch(h.daemon.Stderr(), -1)
	pid, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	h.daemon.AwaitTimes("msg=ready", len(all)+1)
}

// TestWorkerHasItsName: ps, pgrep and the OOM killer find a worker by the name that its supervisor has.
func TestWorkerHasItsName(t *testing.T) {
	h := newHost(t, "--supervise")
	name := func(pid string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	worker := workerStarted.FindStringSubmatch(h.daemon.Stderr())[1]
	if want, got := name(strconv.Itoa(h.daemon.PID())), name(worker); got != want {
		t.Errorf("the worker is called %q, its supervisor %q", got, want)
	}
}

// stop ends the daemon in order.
func (h *host) stop() {
	h.t.Helper()
	h.daemon.Signal(syscall.SIGTERM)
	if status := h.daemon.Status(); status != 0 {
		h.t.Errorf("the daemon ends with status %d", status)
	}
}

// unclaimed is what the log says of descriptors with the holder that nothing is served for.
const unclaimed = "nothing is served any more"

// An export whose image is away when a daemon takes another one's place is not served; its guest, whose front-end cannot
// reconnect, waits until it is, however often that is tried.
func TestGuestWaitsForItsExport(t *testing.T) {
	h := newHost(t, "--supervise")
	h.create("vm")
	g := clitest.Attach(t, filepath.Join(h.dir, "vm.sock"), vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, 0, pattern(512, 1)); status != clitest.StatusOK {
		t.Fatalf("status %d", status)
	}
	image := filepath.Join(h.dir, "vm.raw")
	for _, name := range [][2]string{{image, image + ".away"}, {image + ".away", image}} {
		if err := os.Rename(name[0], name[1]); err != nil {
			t.Fatal(err)
		}
		if name[1] == image {
			break
		}
		h.kill()
		g.Submit(0, clitest.Out, 0, pattern(512, 2))
		wantAll(t, h.does("export", "list"), "failed", "does not exist")
		for range 2 {
			_, said := h.run(2, "export", "start", "vm")
			wantAll(t, said, "does not exist")
		}
		_, said := h.run(2, "export", "delete", "vm")
		wantAll(t, said, "a front-end is connected (it waits for the export since another daemon ended)")
		_, said = h.run(2, "export", "set", "vm", "serial=x")
		wantAll(t, said, "a front-end is connected")
	}
	h.does("export", "start", "vm")
	g.WantDone(0, "after the export has been started again")
	h.kill() // the next one finds the same
	if status := g.Do(0, clitest.Out, 0, pattern(512, 3)); status != clitest.StatusOK {
		t.Fatalf("status %d", status)
	}
	if text := h.daemon.Stderr(); strings.Contains(text, unclaimed) {
		t.Errorf("given up:\n%s", text)
	}
	h.does("export", "delete", "--force", "vm")
	h.stop()
}

// What is deleted, or drained, leaves nothing with the supervisor; nor does what was given up for it.
func TestNothingIsKeptOfADeletedExport(t *testing.T) {
	h := newHost(t, "--supervise")
	for _, name := range []string{"a", "b", "c", "d"} {
		h.create(name)
	}
	h.does("export", "delete", "a")
	h.does("export", "drain", "b")
	h.kill()
	if text := h.daemon.Stderr(); strings.Contains(text, unclaimed) {
		t.Errorf("kept for nothing:\n%s", text)
	}
	for _, name := range []string{"c", "d"} {
		if err := os.Remove(filepath.Join(h.dir, name+".raw")); err != nil {
			t.Fatal(err)
		}
	}
	h.kill()
	h.does("export", "delete", "c")
	h.does("export", "drain", "d")
	h.daemon.AwaitTimes(unclaimed, 2) // a kill may come before the line is written
	h.kill()
	if n := strings.Count(h.daemon.Stderr(), unclaimed); n != 2 { // the sockets of c and d, when that was asked for
		t.Errorf("%d descriptors were given up, want 2:\n%s", n, h.daemon.Stderr())
	}
	if left, err := filepath.Glob(filepath.Join(h.dir, "?.sock")); err != nil || len(left) > 0 {
		t.Errorf("sockets are left: %v %v", left, err)
	}
	h.stop()
}

// A daemon that waits for the state directory of another one hears signals.
func TestStopWhileTheStateDirectoryIsTaken(t *testing.T) {
	h := newHost(t)
	for _, args := range [][]string{nil, {"--supervise"}} {
		p := clitest.Start(t, clitest.Options{}, append([]string{
			"daemon", "--state-dir=" + filepath.Join(h.dir, "state"), "--listen=" + filepath.Join(h.dir, "other.sock"), "--workers=1", "--log-level=debug",
		}, args...)...)
		p.Await("waiting for the state directory")
		p.Signal(syscall.SIGTERM)
		if status := p.Status(); status != 0 { // without hearing it, it has another one after 2 s, or under a supervisor none
			t.Errorf("%v: status %d:\n%s", args, status, p.Stderr())
		}
	}
	h.stop()
}

// Exit status 2 is for what is wrong before any export has begun.
func TestNothingBeginsWithoutASocket(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	h.stop()
	taken := filepath.Join(h.dir, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string][2]string{
		"control": {"--listen=" + taken, "--metrics=" + filepath.Join(h.dir, "m.sock")},
		"metrics": {"--listen=" + h.socket, "--metrics=" + taken},
	} {
		status, _, said := clitest.Run(t, clitest.Options{}, "daemon", "--state-dir="+filepath.Join(h.dir, "state"), option[0], option[1])
		if status != 2 || strings.Contains(said, "export=vm") || !strings.Contains(said, "is not a socket") {
			t.Errorf("%s: status %d:\n%s", name, status, said)
		}
	}
	if left, err := filepath.Glob(filepath.Join(h.dir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("sockets are left: %v %v", left, err)
	}
}

// A client's order that hangs in a file system is in nobody's way: not in that of other orders, and not of SIGTERM, which says
// what it was.
func TestStopWithAHungOrder(t *testing.T) {
	h, disk := newHost(t), newHungDisk(t)
	disk.freeze()
	order := clitest.Start(t, h.options(), "export", "create", "slow", "--socket-path=slow.sock", "--create-size=1MiB",
		"--blk-file="+filepath.Join(disk.dir.Name(), "slow.raw"))
	t.Cleanup(disk.thaw) // or nobody could wait for the daemon
	h.create("vm")
	wantAll(t, h.does("export", "list"), "listening")
	h.does("stats")
	h.daemon.Signal(syscall.SIGTERM)
	h.daemon.Await("gave up after 5s: orders of clients did not end, for these exports: slow")
	if status := order.Status(); status != 1 {
		t.Errorf("the order ended with status %d: %s", status, order.Stderr())
	}
	disk.thaw()
	if status := h.daemon.Status(); status != 1 {
		t.Errorf("status %d:\n%s", status, h.daemon.Stderr())
	}
}
