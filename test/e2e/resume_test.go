package e2e

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

// What a guest may have to wait for its disk when the worker is killed, by the supervisor's clock: in a long run, which is to
// have the machine for itself. A default run demands that the guest is served again, and tells how long that was: one slow
// fsync of the host's is as long as all of this.
const (
	stallP50 = 100 * time.Millisecond
	stallMax = time.Second
)

// servedAgain is what the supervisor says when a successor has completed its first request: when, and how long that was
// after the death.
var servedAgain = regexp.MustCompile(`(?m)^time=(\S+) \S+ msg="served again" .* stall=(\S+)$`)

// awaitServed returns the times of the nth message.
func awaitServed(t *testing.T, b backend, n int) (at time.Time, stall time.Duration) {
	t.Helper()
	match, err := b.AwaitLog(servedAgain, n)
	must(t, err)
	at, err = time.Parse(time.RFC3339Nano, match[1])
	must(t, err)
	stall, err = time.ParseDuration(match[2])
	must(t, err)
	return at, stall
}

// work is a moment by chance in which the guest goes on.
func work() { time.Sleep(200*time.Millisecond + rand.N(400*time.Millisecond)) }

// TestWorkerKilled kills the worker of a supervised vublk under a guest whose QEMU knows nothing of reconnecting.
func TestWorkerKilled(t *testing.T) {
	for _, packed := range []string{"off", "on"} {
		t.Run("packed="+packed, func(t *testing.T) {
			kills := 10
			if lab.long {
				kills = 100
			}
			m, socket := dyingDisk(t)
			b := startVublkAt(t, socket, m, "--supervise", "--restart-limit=0", "--num-queues=2")
			g := startWriting(t, m, guest.Disk{ID: "disk0", Socket: socket, NumQueues: 2, Options: "packed=" + packed})
			var fromKill, fromDeath []time.Duration
			worker := 0
			for i := range kills {
				work()
				var err error
				worker, err = b.Worker(worker)
				must(t, err)
				killed := time.Now()
				must(t, guest.KillProcess(worker))
				at, stall := awaitServed(t, b, i+1)
				fromKill, fromDeath = append(fromKill, at.Sub(killed)), append(fromDeath, stall)
			}
			report := g.finish()
			p50, most := spread(fromKill)
			deathP50, deathMost := spread(fromDeath)
			t.Logf("%d kill -9 of the worker: stall from the kill p50 %v, max %v; from the death as the supervisor sees it p50 %v, max %v",
				kills, p50, most, deathP50, deathMost)
			t.Logf("the guest: %d records, %d fsyncs, the longest %v", report.Records, report.Syncs, report.Longest)
			if lab.long && (p50 > stallP50 || most > stallMax) {
				t.Errorf("stall p50 %v, max %v: at most %v and %v", p50, most, stallP50, stallMax)
			}
		})
	}
}

// TestWorkerUpgraded has new workers take over from the old ones under a guest.
func TestWorkerUpgraded(t *testing.T) {
	upgrades := 5
	if lab.long {
		upgrades = 20
	}
	m, socket := dyingDisk(t)
	b := startVublkAt(t, socket, m, "--supervise", "--num-queues=2")
	g := startWriting(t, m, guest.Disk{ID: "disk0", Socket: socket, NumQueues: 2})
	asked := regexp.MustCompile(`(?m)^time=(\S+) .*msg="upgrade: the new worker is there, the old one hands over"`)
	var pauses []time.Duration
	for i := range upgrades {
		work()
		must(t, syscall.Kill(b.PID(), syscall.SIGUSR2))
		at, _ := awaitServed(t, b, i+1)
		match, err := b.AwaitLog(asked, i+1)
		must(t, err)
		begun, err := time.Parse(time.RFC3339Nano, match[1])
		must(t, err)
		pauses = append(pauses, at.Sub(begun))
	}
	if found := regexp.MustCompile(`.*level=(WARN|ERROR).*`).FindAllString(b.Log(), -1); found != nil {
		t.Error("the log of a life without trouble says:", found)
	}
	report := g.finish()
	p50, most := spread(pauses)
	t.Logf("%d upgrades: from the drain's begin to the first request served p50 %v, max %v", upgrades, p50, most)
	t.Logf("the guest: %d records, %d fsyncs, the longest %v", report.Records, report.Syncs, report.Longest)
}

// TestBackendKilled kills a vublk that nobody supervises; it is started again, and QEMU reconnects.
func TestBackendKilled(t *testing.T) {
	for _, packed := range []string{"off", "on"} {
		t.Run("packed="+packed, func(t *testing.T) {
			kills, again := 5, 1200*time.Millisecond
			if lab.long {
				kills = 50
			}
			if len(lab.qemu) > 0 { // it reconnects sooner
				again = 150 * time.Millisecond
			}
			m, socket := dyingDisk(t)
			start := func() backend {
				return startMortal(t, socket, "serve", "--socket-path="+socket, "--blk-file="+m.Path, "--num-queues=2")
			}
			b := start()
			g := startWriting(t, m, guest.Disk{ID: "disk0", Socket: socket, NumQueues: 2, Options: "packed=" + packed, Reconnect: true})
			killed := 0
			for killed < kills {
				work()
				b.Kill()
				b = start()
				killed++
				for range rand.IntN(3) { // QEMU may be in the middle of what it says to a new back-end
					time.Sleep(rand.N(again))
					b.Kill()
					b = start()
					killed++
				}
				g.rounds("2")
			}
			report := g.finish()
			must(t, b.Stop())
			t.Logf("%d kill -9 of vublk, %s: %d records, %d fsyncs, the longest %v", killed, qemuVersion(t), report.Records, report.Syncs, report.Longest)
		})
	}
}

// startMortal is startBackend for one that the test kills.
func startMortal(t *testing.T, socket string, args ...string) backend {
	t.Helper()
	b, err := guest.StartBackend(socket+".log", []string{socket}, append([]string{lab.vublk}, args...)...)
	must(t, err)
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("vublk said:\n%s", tail(b.Log()))
		}
	})
	return backend{Backend: b, Socket: socket}
}

// qemuVersion names the QEMU that the guests run in.
func qemuVersion(t *testing.T) string {
	t.Helper()
	argv := append([]string{"qemu-system-x86_64"}, "--version")
	if len(lab.qemu) > 0 {
		argv = append(append([]string{}, lab.qemu...), "--version")
	}
	out, err := guest.Host(argv[0], argv[1:]...)
	must(t, err)
	var version string
	_, err = fmt.Sscanf(out, "QEMU emulator version %s", &version)
	must(t, err)
	return "QEMU " + version
}
