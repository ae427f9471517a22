package native

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// What two writers have in flight is tens of milliseconds of copying: a worker stays busy although we are woken late.
const (
	writerDepth = 128
	writerSize  = 4 * mib
)

// writer keeps large writes in flight and sleeps while it waits: nearly all the work is the back-end's copying.
type writer struct {
	driver  *virtiotest.Driver
	request virtiotest.Request
	status  []byte // all requests have the same
	done    atomic.Int64
	stop    chan struct{}
	ended   sync.WaitGroup
	err     error
}

func newWriter(t *testing.T, f *vhostusertest.Frontend) *writer {
	t.Helper()
	cell, err := f.Memory().Alloc(headerSize+1, 16)
	if err != nil {
		t.Fatal(err)
	}
	data, err := f.Memory().Alloc(writerSize, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	var header [headerSize]byte
	binary.LittleEndian.PutUint32(header[:], uint32(blk.RequestOut))
	f.Memory().Write(cell, header[:])
	return &writer{
		driver: f.Queue(0), status: f.Memory().Bytes(cell+headerSize, 1),
		request: virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: cell, Len: headerSize}, {GPA: data, Len: writerSize}},
			Writable: []virtiotest.Area{{GPA: cell + headerSize, Len: 1}},
		},
	}
}

func (w *writer) start() {
	w.stop = make(chan struct{})
	w.ended.Go(func() { w.err = w.run() })
}

// end waits for what is in flight.
func (w *writer) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	if w.ended.Wait(); w.err != nil {
		t.Error(w.err)
	}
}

func (w *writer) run() error {
	for running := true; running || w.driver.Outstanding() > 0; {
		select {
		case <-w.stop:
			running = false
		default:
		}
		for running && w.driver.Outstanding() < writerDepth {
			if _, err := w.driver.AddRequest(&w.request); err != nil {
				return err
			}
		}
		if _, err := w.driver.Publish(); err != nil {
			return err
		}
		if err := w.reap(); err != nil {
			return err
		}
	}
	if w.status[0] != 0 {
		return errors.Errorf("status %d", w.status[0])
	}
	return nil
}

// reap waits for one completion at least.
func (w *writer) reap() error {
	for n := 0; w.driver.Outstanding() > 0; {
		_, ok, err := w.driver.Reap()
		switch {
		case err != nil:
			return err
		case ok:
			n++
			w.done.Add(1)
		case n > 0:
			return nil
		case w.driver.EnableCalls():
		default:
			if called, err := w.driver.WaitCall(patience); err != nil || !called {
				return errors.Errorf("no completion: %v", err)
			}
		}
	}
	return nil
}

// rate is how many requests all writers complete a second, over half a second.
func rate(writers ...*writer) float64 {
	sum := func() (n int64) {
		for _, w := range writers {
			n += w.done.Load()
		}
		return n
	}
	before, begin := sum(), time.Now()
	time.Sleep(500 * time.Millisecond) // what is measured
	return float64(sum()-before) / time.Since(begin).Seconds()
}

// serveStores starts vublk with n exports in memory on two workers, and a front-end with one queue on each.
func serveStores(t *testing.T, n int) (*guest.Backend, []*writer) {
	t.Helper()
	dir := t.TempDir()
	argv := []string{vublk, "serve", "--workers=2", "--log-level=debug"}
	var sockets []string
	for i := range n {
		sockets = append(sockets, filepath.Join(dir, fmt.Sprintf("e%d", i)))
		argv = append(argv, fmt.Sprintf("--export=store=mem:%d,socket-path=%s", writerSize, sockets[i]))
	}
	b, err := guest.StartBackend(filepath.Join(dir, "log"), sockets, argv...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("vublk's log:\n%s", b.Log())
		}
	})
	var writers []*writer
	for _, socket := range sockets {
		f, err := vhostusertest.Connect(socket, vhostusertest.Options{QueueSize: 4 * writerDepth})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, newWriter(t, f))
	}
	return b, writers
}

var (
	placed = regexp.MustCompile(`queue placed" export=e(\d+) queue=0 worker=(\d)`)
	moved  = regexp.MustCompile(`queue moved[^"]*" export=e(\d+) queue=0 worker=(\d)`)
)

// placement is on which worker each of n exports began.
func placement(t *testing.T, b *guest.Backend, n int) []string {
	t.Helper()
	if _, err := b.AwaitLog(placed, n); err != nil {
		t.Fatal(err)
	}
	workers := make([]string, n)
	for _, m := range placed.FindAllStringSubmatch(b.Log(), -1) {
		i, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		workers[i] = m[2]
	}
	return workers
}

// TestBusyExportsPart: of two busy exports on one worker, one moves to the other worker, and then both stay. Where there are
// two CPUs to be had, more is done.
func TestBusyExportsPart(t *testing.T) {
	b, writers := serveStores(t, 3)
	at := placement(t, b, 3)
	var busy []*writer
	for i := range at {
		if at[i] == at[(i+1)%3] {
			busy = []*writer{writers[i], writers[(i+1)%3]}
		}
	}
	for _, w := range busy {
		w.start()
		defer w.end(t)
	}
	together := rate(busy...)
	if _, err := b.AwaitLog(moved, 1); err != nil {
		t.Fatal(err)
	}
	apart := rate(busy...)
	t.Logf("%.0f writes a second on one worker, %.0f on two: %.2f times as many", together, apart, apart/together)
	wantQuiet(t, b, 1)
}

// TestBusyExportsThatAreApartStay: neither worker would be relieved. When they are not busy any more the process rests:
// nothing looks whether there is something to balance.
func TestBusyExportsThatAreApartStay(t *testing.T) {
	b, writers := serveStores(t, 2)
	if at := placement(t, b, 2); at[0] == at[1] {
		t.Fatalf("both began on worker %s", at[0])
	}
	for _, w := range writers {
		w.start()
	}
	wantQuiet(t, b, 0)
	for _, w := range writers {
		w.end(t)
	}
	m, err := bench.NewMeter(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the runtime takes a moment to rest
	const idle = 3
	before, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(idle * time.Second) // what is measured
	after, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	u := after.Sub(before)
	n := u.Voluntary + u.Involuntary
	t.Logf("%d context switches in %d idle seconds", n, idle)
	if n > 5*idle {
		t.Error("too many")
	}
}

// wantQuiet lets the load go on for long enough to move more than the n queues that have moved.
func wantQuiet(t *testing.T, b *guest.Backend, n int) {
	t.Helper()
	time.Sleep(4 * time.Second) // in which nothing is to happen
	if got := strings.Count(b.Log(), "queue moved"); got != n {
		t.Errorf("%d queues have moved, want %d", got, n)
	}
}
