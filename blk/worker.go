package blk

import (
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// A queue may hand in so many requests before the next queue has its turn, and before what it handed in is submitted and
// what is done is published. Few, so that a driver sees its first completions soon and makes new requests while we work
// on the rest: with one large batch both sides would wait for each other in turn. Of a deep queue a quarter of what is
// there is as good, and larger batches cost less.
const (
	leastBudget = 8
	mostBudget  = 64
)

func budget(backlog int) int { return min(max(backlog/4, leastBudget), mostBudget) }

// worker is one goroutine on its own OS thread with one io_uring and the queues placed on it. It alone touches what is
// below; other goroutines reach it through do, other workers through send.
//
//	    kick, doorbell, completions
//	               │
//	┌──────────────▼──────────────────────────────────────────────┐
//	│ control ─► fetch ─► publish ─► turn (enter) ─► reap ─► publish │──┐
//	└──────────────▲──────────────────────────────────────────────┘  │
//	               └─────────────────────────────────────────────────┘
type worker struct {
	id   int32
	pool *Pool
	ring *iouring.Ring
	mem  workerMemory

	slots []slot
	free  int32 // list of unused slots

	chain   *virtio.Chain // scratch: the chain being fetched
	req     request       // scratch: the same, taken apart
	holding *slot         // the slot whose guest memory is being touched: what a fault leaves behind
	looking *queue        // likewise, the queue

	queues     []*queue // all that are placed here
	hot        []*queue // looked at each turn
	turns      uint64   // so many were begun
	publishing []*queue // have done slots
	kickless   []*queue // have no kick descriptor: looked at by the clock

	polls     pollTable
	buffers   bufferPool
	timer     retryTimer
	homes     []*Device // devices at home here, by index
	devices   int       // that have queues here
	slotShare int       // of each of them, in slots: kept, because a division for each request is not for nothing

	mail     mailbox
	inbox    *inbox
	unsent   []outgoing
	backlog  []iouring.CQE // taken off the ring before their turn
	sleeping atomic.Bool

	poller  poller
	meter   loadMeter
	account account
	untimed []untimed     // answered since the clock was read
	now     time.Duration // since the pool's start; read once a turn
	quit    bool
}

// workerMemory is what of a worker's memory the kernel is told the addresses of. It lives outside the Go heap.
type workerMemory struct {
	arena    *iouring.Arena
	rows     []guestmem.Iovec // rowLen for each slot
	rowsAddr uint64
	timeout  iouring.Block // struct __kernel_timespec
	zeros    zeroSource
}

func newWorker(p *Pool, id int32, slots int, ring iouring.Options) (*worker, error) {
	w := &worker{
		id: id, pool: p, chain: virtio.NewChain(), poller: newPoller(p.poll), free: none,
		inbox: newInbox(inboxSize(slots)),
	}
	var err error
	if w.mail.bell, err = sys.EventFD(); err != nil {
		return nil, err
	}
	if err = w.mem.init(slots, &w.buffers); err == nil {
		w.ring, err = iouring.New(ring)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	w.slots = make([]slot, slots)
	for i := slots - 1; i >= 0; i-- {
		w.slots[i].id = int32(i)
		w.putSlot(&w.slots[i])
	}
	w.timer.waiting = newSlotList()
	return w, nil
}

// init lays the worker's arena out. Pages that are never used cost nothing.
func (m *workerMemory) init(slots int, buffers *bufferPool) error {
	rows := slots * rowLen * iovecSize
	arena, err := iouring.NewArena(rows + bufferCount*bufferSize + zeroSize + 1<<16)
	if err != nil {
		return err
	}
	m.arena = arena
	block, err := arena.Alloc(rows, pageSize)
	if err != nil {
		return err
	}
	m.rows, m.rowsAddr = iovecs(block), block.Addr()
	if err := buffers.init(arena); err != nil {
		return err
	}
	if err := m.zeros.init(arena); err != nil {
		return err
	}
	m.timeout, err = arena.Alloc(16, 16)
	return err
}

// run is the worker's life. ready is told whether it could begin.
func (w *worker) run(ready chan<- error) {
	ended := w.pool.ended[w.id]
	runtime.LockOSThread() // never unlocked: the ring belongs to the thread
	if unix.Gettid() == unix.Getpid() {
		// The first thread's name and CPUs are the process's, and it cannot end. While it is taken another one has to run.
		go w.run(ready)
		<-ended
		runtime.UnlockOSThread()
		return
	}
	defer close(ended)
	debug.SetPanicOnFault(true)
	nameThread("worker-" + strconv.Itoa(int(w.id)))
	err := w.enable()
	w.meter.begin(w.pool.opt.Workers)
	w.account.open(w)
	ready <- err
	if err != nil {
		return
	}
	for {
		w.now = time.Since(w.pool.start)
		w.takeTime(w.now)
		if w.now >= w.meter.due {
			w.lookAtLoad()
		}
		if w.runMail(); w.quit {
			return
		}
		w.readInbox()
		if len(w.kickless) > 0 {
			w.armTimer()
		}
		more := w.fetch()
		w.publish()
		w.turn(more)
		w.reap()
		w.publish()
	}
}

// ioThreads bounds the io-wq threads of a worker. They run what the kernel cannot do without blocking, every fdatasync
// for one; with the kernel's default, 4 a CPU, a few disks that hang would stop all others.
const ioThreads = 256

// enable takes the ring into use on the calling thread, on its CPU.
func (w *worker) enable() error {
	if err := w.pin(); err != nil {
		return err
	}
	if err := w.ring.Enable(); err != nil {
		return err
	}
	if err := w.ring.SetIOWQWorkers(ioThreads, 0); err != nil {
		return err
	}
	var unsupported *iouring.UnsupportedError
	if err := w.ring.RegisterRingFD(); err != nil && !errors.As(err, &unsupported) {
		return err
	}
	if err := w.armDoorbell(); err != nil {
		return err
	}
	return w.pinIOThreads() // this thread has used the ring now
}

func (w *worker) close() {
	if w.ring != nil {
		_ = w.ring.Close()
	}
	if w.mem.arena != nil {
		_ = w.mem.arena.Close()
	}
	_ = w.mail.bell.Close()
	w.meter.close()
}

// fetch takes requests out of the hot queues. It returns whether there are more.
func (w *worker) fetch() bool {
	more, idle := false, false
	first := w.firstQueue()
	for i := range w.hot {
		q := w.hot[(first+i)%len(w.hot)]
		if !q.serving() {
			continue
		}
		again, err := w.fetchQueue(q)
		if err != nil {
			w.dropHeld()
			w.breakQueue(q, err)
		}
		more = more || again
		idle = idle || w.now-q.busy > coolLag
	}
	if idle && w.cool(coolLag) {
		return true
	}
	return more
}

// firstQueue counts the turn, and says which queue is offered first what slots there are: another one by chance. With each in
// its order, a disk whose completions take as many turns as there are queues would give every slot to the same one.
func (w *worker) firstQueue() int {
	w.turns++
	z := w.turns * 0x9e3779b97f4a7c15 // splitmix64 (Steele, Lea, Flood 2014)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) >> 2) // so that an index may be added
}

func (w *worker) fetchQueue(q *queue) (more bool, err error) {
	w.looking = q
	defer guestmem.Recover(&err)
	if !q.quiet {
		q.vq.DisableKicks()
		q.quiet = true
	}
	for n, most := 0, leastBudget; n < most; n++ {
		if w.full(q) {
			return false, nil // completions make room, and wake us
		}
		s := w.takeSlot()
		w.holding = s
		ok, err := q.vq.Next(w.chain)
		if !ok {
			w.putSlot(s)
			w.holding = nil
			return false, err
		}
		if n == 0 {
			q.busy = w.now
			most = budget(q.vq.Backlog())
		}
		w.begin(q, s)
		w.holding = nil
		if q.gate.held {
			return false, nil // behind a barrier
		}
	}
	return true, nil
}

// full tells whether a queue may not fetch: there is no slot, or its device has its share of them in flight here. A disk
// that hangs must leave slots to the others, and to one more that may come.
func (w *worker) full(q *queue) bool {
	return w.free == none || q.gate.active >= w.slotShare
}

// minShare is what each device may have in any case.
const minShare = 4

// setDevices changes how many devices share this worker.
func (w *worker) setDevices(n int) {
	w.devices = n
	w.slotShare = w.share(len(w.slots))
}

// share is a device's part of n things of this worker.
func (w *worker) share(n int) int { return max(n/(w.devices+1), minShare) }
