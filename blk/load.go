package blk

import (
	"bytes"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// lookEvery is how often a worker that takes turns looks how busy it is.
const lookEvery = 250 * time.Millisecond

// loadMeter measures one worker: how much of the time it runs, or waits for a CPU, and is not looking at its rings in
// vain. A worker that sleeps takes no turns and measures nothing: its load is old, which is to say none. All but the
// atomics belongs to the worker.
type loadMeter struct {
	due  time.Duration // on the pool's clock, of the next look
	at   time.Duration // of the last one
	used time.Duration // CPU time and time spent waiting for a CPU, at the last look
	spun time.Duration // spent polling since the last look, as far as the clock was read: less than 32 looks are none

	wait *sys.FD // the thread's schedstat; nil: nobody tells how long it waits for a CPU
	text [64]byte

	load   atomic.Uint64 // math.Float64bits of the part of the time that it was busy
	loadAt atomic.Int64  // time.Duration on the pool's clock
}

// begin is called on the worker's thread. A worker that has no other beside it never looks.
func (m *loadMeter) begin(workers int) {
	if workers < 2 {
		m.due = math.MaxInt64
	}
	if fd, err := unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		m.wait = sys.NewFD(fd)
	}
	m.used = m.usedNow()
}

func (m *loadMeter) close() { _ = m.wait.Close() }

// look measures the time since the last look and returns the load.
func (m *loadMeter) look(now time.Duration) float64 {
	used, elapsed := m.usedNow(), now-m.at
	busy := max(used-m.used-m.spun, 0)
	m.used, m.at, m.spun, m.due = used, now, 0, now+lookEvery
	load := min(float64(busy)/float64(max(elapsed, 1)), 1)
	m.load.Store(math.Float64bits(load))
	m.loadAt.Store(int64(now))
	return load
}

// recent returns the load. Any goroutine may call it.
func (m *loadMeter) recent(now time.Duration) float64 {
	if now-time.Duration(m.loadAt.Load()) > 2*lookEvery+lookEvery/2 {
		return 0
	}
	return math.Float64frombits(m.load.Load())
}

// usedNow is what the calling thread has used of CPUs, and waited for them: the second number of its schedstat
// (Documentation/scheduler/sched-stats.rst), nanoseconds. The first one would be the CPU time, but lags behind by up to a
// tick.
func (m *loadMeter) usedNow() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	used := time.Duration(t.Nano())
	if n, err := unix.Pread(m.wait.Int(), m.text[:], 0); err == nil {
		used += time.Duration(secondNumber(m.text[:n]))
	}
	return used
}

// secondNumber reads the second of some decimal numbers; 0: there is none.
func secondNumber(text []byte) (n int64) {
	_, text, _ = bytes.Cut(text, []byte{' '})
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// lookAtLoad is called when the meter is due. A busy worker has the balancer look, too; who is idle wakes nobody.
func (w *worker) lookAtLoad() {
	if w.meter.look(w.now) >= busyLoad {
		w.pool.balancer.wake()
	}
}
