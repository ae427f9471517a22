package scale

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// What a thousand idle exports may cost in one process.
const (
	many        = 1000
	maxPrivate  = 128 << 10 // KiB
	maxThreads  = workers + 12
	maxSwitches = 5 // a second
	idleWindow  = 20 * time.Second

	// Go's heap has holes: what is left when all front-ends have gone is not all that there was before.
	heapHoles = 16 << 10 // KiB
)

// TestThousandIdle: a thousand exports of a file each, whose front-ends do nothing, and what is left of them.
func TestThousandIdle(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	f := start(t, options{exports: many, disk: "blk-file=" + images(t, many)})
	t.Logf("listening after %v", time.Since(begin))
	quiet(t, f)
	before := use(t, f.pid())
	t.Logf("listening: %v", before)

	begin = time.Now()
	f.attachAll(t, 0, vhostusertest.Options{})
	t.Logf("all attached after %v", time.Since(begin))
	quiet(t, f)
	s := switches{pid: f.pid()}
	s.since(t)
	time.Sleep(idleWindow) // what is measured
	sum, idle := s.since(t), use(t, f.pid())
	t.Logf("attached and idle: %v; %d context switches in %v", idle, sum, idleWindow)
	if idle.private > maxPrivate || idle.threads > maxThreads || sum > maxSwitches*int(idleWindow/time.Second) {
		t.Errorf("want at most %d KiB, %d threads and %d context switches a second", maxPrivate, maxThreads, maxSwitches)
	}
	oneOfMany(t, f)

	begin = time.Now()
	f.detach(t)
	var after usage
	eventually(t, "everything of the front-ends is gone", time.Minute, 100*time.Millisecond, func() bool {
		after = use(t, f.pid())
		return after.fds <= before.fds && after.maps <= before.maps && after.threads <= maxThreads &&
			after.private <= before.private+heapHoles
	})
	t.Logf("%v after all have left: %v", time.Since(begin).Round(time.Millisecond), after)
	begin = time.Now()
	f.stop(t)
	t.Logf("stopped after %v", time.Since(begin))
}

// oneOfMany lets one export work hard, and another one do a request at a time.
func oneOfMany(t *testing.T, f *fleet) {
	t.Helper()
	for _, i := range []int{0, 1} {
		if err := f.fronts[i].Close(); err != nil {
			t.Fatal(err)
		}
		f.fronts[i] = nil
	}
	alone := start(t, options{exports: 1, disk: "blk-file=" + images(t, 1)})
	var among, single, again costs // of CPU: IOPS are the machine's
	for range 3 {
		busy, lone := beside(t, f.sockets[0], f.sockets[1])
		t.Logf("one of %d: %.0f IOPS at depth 256; beside it %.0f at depth 1, p50 %v", many, busy.IOPS, lone.IOPS, lone.Latency.P50)
		checkLone(t, busy, lone)
		for _, m := range []struct {
			socket string
			cpu    *costs
		}{{alone.sockets[0], &single}, {f.sockets[0], &among}, {alone.sockets[0], &again}} {
			r, err := bench.Run(context.Background(), bench.Config{Socket: m.socket, Depth: 32, Duration: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("depth 32: %.0f IOPS, %v of CPU a request", r.IOPS, r.CPUPerRequest)
			*m.cpu = append(*m.cpu, r.CPUPerRequest)
		}
	}
	t.Logf("depth 32: %v of CPU a request as one of %d, %v and %v alone", among.median(), many, single.median(), again.median())
	if among.median() > 2*max(single.median(), again.median()) {
		t.Error("it is slow because of the others")
	}
	alone.stop(t)
}

// quiet waits until vublk has come to rest, with time enough for it to tidy up.
func quiet(t *testing.T, f *fleet) {
	t.Helper()
	const tidies = 4 * time.Second // see internal/cli/tidy.go
	begin, last := time.Now(), 0
	s := switches{pid: f.pid()}
	s.since(t)
	eventually(t, "vublk falls quiet", 30*time.Second, 500*time.Millisecond, func() bool {
		before := last
		last = s.since(t)
		return time.Since(begin) > tidies && before+last <= 5
	})
}

// images makes sparse files in a directory and returns their pattern. They are older than the test: opening an image
// writes back what is dirty of it.
func images(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "disk"+number(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "disk"+number(i)), 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "disk%d")
}

// TestQueuesNotStarted: what a device offers costs nothing until it is used.
func TestQueuesNotStarted(t *testing.T) {
	const exports = 200
	var live [2]uint64
	var used [2]usage
	for i, queues := range []string{"1", "256"} {
		f := start(t, options{exports: exports, disk: "store=null:1GiB,num-queues=" + queues, insight: true})
		f.attachAll(t, 0, vhostusertest.Options{})
		live[i], used[i] = f.ask(t, "live"), use(t, f.pid())
		f.detach(t)
		f.stop(t)
		t.Logf("%s queues offered, one started: %d bytes live, %v", queues, live[i], used[i])
	}
	const pointers = 4 << 10 // an export
	if live[1] > live[0]+exports*pointers || used[1].fds != used[0].fds || used[1].maps != used[0].maps {
		t.Errorf("255 queues more that do not start cost %d bytes an export, and other things", (int64(live[1])-int64(live[0]))/exports)
	}
}

// TestQueuesStarted: up to 16 of them cost the same each.
func TestQueuesStarted(t *testing.T) {
	const exports = 40
	var last usage
	var lastLive uint64
	f := start(t, options{exports: exports, insight: true})
	for _, queues := range []int{0, 1, 4, 16} {
		if queues > 0 {
			f.attachAll(t, 0, vhostusertest.Options{Queues: queues})
		}
		now, live := use(t, f.pid()), f.ask(t, "live")
		t.Logf("%2d queues each: %d bytes live, %v", queues, live, now)
		if last.fds > 0 {
			perQueue := (int64(live) - int64(lastLive)) / int64(exports*queues)
			fds := (now.fds - last.fds) / exports
			if want := 5 + 6*queues; fds > want || perQueue > 40<<10 {
				t.Errorf("%d queues: %d descriptors an export, want %d; %d bytes a queue", queues, fds, want, perQueue)
			}
			f.detach(t)
			eventually(t, "the front-ends have gone", time.Minute, 20*time.Millisecond, func() bool {
				return use(t, f.pid()).fds == last.fds
			})
			continue
		}
		last, lastLive = now, live
	}
}
