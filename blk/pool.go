package blk

import (
	"log/slog"
	"sync"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/iouring"
)

// PoolOptions are the choices about the workers of a process. The zero value of each field means its default.
type PoolOptions struct {
	Workers int             // default: the number of CPUs, or else the CPUs that the process may run on
	CPUs    []int           // worker k runs on the kth of them only, and needs one; empty: wherever the kernel likes
	Slots   int             // requests in flight a worker, default 1024
	Poll    PollMode        // default PollOff; PollAuto is what the programs take
	Ring    iouring.Options // default: sizes that follow from Slots
	Log     *slog.Logger    // default: none
}

// maxWorkers bounds Workers: messages name their sender in a few bits, and more threads than this serve nobody.
const maxWorkers = 1024

// Pool is the workers of a process; all its devices share them.
type Pool struct {
	opt     PoolOptions
	poll    PollMode
	start   time.Time
	workers []*worker
	ended   []chan struct{} // closed when the worker's goroutine has returned

	balancer *balancer

	mu       sync.Mutex
	nextHome int32
	closed   bool

	asked sync.RWMutex // held for reading by those who ask workers that may be about to be closed
}

// NewPool starts the workers. An *iouring.UnsupportedError says that this kernel, or a sandbox, does not allow it, a
// *CPUError that the process may not use one of CPUs.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Workers == 0 {
		o.Workers = len(o.CPUs)
	}
	if o.Workers == 0 {
		o.Workers = allowedCPUs()
	}
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers < 1 || o.Workers > maxWorkers {
		return nil, errors.Errorf("%d workers: a process has 1 to %d", o.Workers, maxWorkers)
	}
	if len(o.CPUs) > 0 && o.Workers > len(o.CPUs) {
		return nil, errors.Errorf("%d workers on %d CPUs: each has one of its own", o.Workers, len(o.CPUs))
	}
	if o.Ring.Entries == 0 {
		o.Ring.Entries = uint32(min(o.Slots, 512))
	}
	if o.Ring.CQEntries == 0 {
		o.Ring.CQEntries = uint32(4 * o.Slots) // slots, fdatasyncs, and a kick of each of many queues
	}
	p := &Pool{opt: o, poll: o.Poll, start: time.Now()}
	p.balancer = newBalancer(p)
	for i := range o.Workers {
		if err := p.startWorker(int32(i)); err != nil {
			_ = p.Close()
			return nil, errors.Wrapf(err, "start worker %d", i)
		}
	}
	p.balancer.start()
	return p, nil
}

func (p *Pool) startWorker(id int32) error {
	w, err := newWorker(p, id, p.opt.Slots, p.opt.Ring)
	if err != nil {
		return err
	}
	p.ended = append(p.ended, make(chan struct{}))
	ready := make(chan error, 1)
	go w.run(ready)
	if err := <-ready; err != nil {
		<-p.ended[id]
		w.close()
		return err
	}
	p.workers = append(p.workers, w)
	return nil
}

// Close ends the workers. No device uses them any more. The error is always nil.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	p.balancer.stop()
	p.asked.Lock()
	defer p.asked.Unlock()
	for i, w := range p.workers {
		w.do(func() { w.quit = true })
		<-p.ended[i]
		w.close()
	}
	return nil
}

// ask runs f for each worker, on it. It returns false when they have ended.
func (p *Pool) ask(f func(w *worker)) bool {
	p.asked.RLock()
	defer p.asked.RUnlock()
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return false
	}
	for _, w := range p.workers {
		w.do(func() { f(w) })
	}
	return true
}

// Workers is how many there are.
func (p *Pool) Workers() int { return len(p.workers) }

// addHome gives a device its home worker: each in turn.
func (p *Pool) addHome(d *Device) {
	p.mu.Lock()
	d.home = p.nextHome % int32(len(p.workers))
	p.nextHome++
	p.mu.Unlock()
	w := d.homeWorker()
	w.do(func() {
		for i, other := range w.homes {
			if other == nil {
				w.homes[i], d.homeIndex = d, int32(i)
				return
			}
		}
		d.homeIndex = int32(len(w.homes))
		w.homes = append(w.homes, d)
	})
}

func (p *Pool) removeHome(d *Device) {
	w := d.homeWorker()
	w.do(func() { w.homes[d.homeIndex] = nil })
}
