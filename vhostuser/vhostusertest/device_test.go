package vhostusertest_test

import (
	"runtime/debug"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// echo is a device whose requests copy what they can read to what they can write. A goroutine per queue owns it.
type echo struct {
	mu     sync.Mutex // calls come from the session only; the test looks at config
	config [16]byte
	queues map[int]*owner
}

// owner runs one queue.
type owner struct {
	q     *virtio.Queue
	wake  *sys.FD
	work  chan func(*virtio.Queue)
	ended chan struct{}
}

func newEcho() *echo { return &echo{queues: map[int]*owner{}} }

func (e *echo) Features() uint64 {
	return uint64(virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureRingPacked | 1<<9)
}

func (e *echo) SetFeatures(uint64) error { return nil }

func (e *echo) ReadConfig(b []byte, off uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if off < uint32(len(e.config)) {
		copy(b, e.config[off:])
	}
}

func (e *echo) WriteConfig(b []byte, off uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if uint64(off)+uint64(len(b)) > uint64(len(e.config)) {
		return errors.New("outside of the configuration space")
	}
	copy(e.config[off:], b)
	return nil
}

func (e *echo) SetMemory(t *guestmem.Table) error {
	for i := range e.queues {
		if err := e.UpdateQueue(i, func(q *virtio.Queue) { _ = q.SetMemory(t) }); err != nil {
			return err
		}
	}
	return nil
}

func (e *echo) SetMemo(m *guestmem.Region) error {
	if m != nil {
		m.Close()
	}
	return nil
}

func (e *echo) SetLog(*guestmem.DirtyLog) error { return nil }

func (e *echo) StartQueue(i int, q *virtio.Queue) error {
	wake, err := sys.EventFD()
	if err != nil {
		_ = q.Close()
		return err
	}
	o := &owner{q: q, wake: wake, work: make(chan func(*virtio.Queue), 1), ended: make(chan struct{})}
	e.queues[i] = o
	go o.run()
	return nil
}

func (e *echo) UpdateQueue(i int, f func(*virtio.Queue)) error {
	o := e.queues[i]
	if o == nil {
		return errors.Errorf("queue %d is not started", i)
	}
	done := make(chan struct{})
	o.work <- func(q *virtio.Queue) { f(q); close(done) }
	if err := sys.Signal(o.wake.Int()); err != nil {
		return err
	}
	<-done
	return nil
}

func (e *echo) StopQueue(i int) (base virtio.Base, err error) {
	var stopErr error
	if err := e.UpdateQueue(i, func(q *virtio.Queue) {
		defer guestmem.Recover(&stopErr)
		base, stopErr = q.Stop()
	}); err != nil {
		return 0, err
	}
	o := e.queues[i]
	delete(e.queues, i)
	close(o.work)
	if err := sys.Signal(o.wake.Int()); err != nil {
		return 0, err
	}
	<-o.ended
	for _, err := range []error{o.q.Close(), o.wake.Close()} {
		if stopErr == nil {
			stopErr = err
		}
	}
	return base, stopErr
}

func (e *echo) Reset() error {
	for i := range e.queues {
		if _, err := e.StopQueue(i); err != nil {
			return err
		}
	}
	return nil
}

// run looks before it sleeps, so that neither a kick before the start nor one that was never sent is missed.
func (o *owner) run() {
	defer close(o.ended)
	debug.SetPanicOnFault(true)
	chain := virtio.NewChain()
	for {
		o.serve(chain)
		fds := []unix.PollFd{{Fd: int32(o.wake.Int()), Events: unix.POLLIN}, {Fd: int32(o.q.KickFD()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			continue // EINTR
		}
		for _, fd := range fds {
			if fd.Revents != 0 {
				_, _ = sys.Drain(int(fd.Fd))
			}
		}
		select {
		case f, ok := <-o.work:
			if !ok {
				return
			}
			f(o.q)
		default:
		}
	}
}

// serve completes everything that is available. What fails breaks the queue.
func (o *owner) serve(c *virtio.Chain) {
	err := o.complete(c)
	if err != nil {
		o.q.Break(err)
	}
}

func (o *owner) complete(c *virtio.Chain) (err error) {
	defer guestmem.Recover(&err)
	for {
		ok, err := o.q.Next(c)
		if err != nil {
			return err
		}
		if !ok {
			if _, err := o.q.Publish(); err != nil {
				return err
			}
			if !o.q.EnableKicks() {
				return nil
			}
			continue
		}
		buf := make([]byte, min(guestmem.TotalLen(c.Readable), guestmem.TotalLen(c.Writable)))
		guestmem.CopyIn(buf, c.Readable)
		o.q.Push(c.Token, uint32(guestmem.CopyOut(c.Writable, buf)))
	}
}
