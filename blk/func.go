package blk

import (
	"context"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// FuncDisk is a Disk of plain Go: a remote store, an encrypted one, anything of one's own. Its methods may block. They
// are called by goroutines of the device, up to 32 at a time and in any order. Ranges are whole logical blocks (512 bytes,
// unless DeviceOptions say otherwise) inside the Disk: at most 256 KiB for ReadAt and WriteAt, 2 GiB for Zero. Memory is
// the method's until it returns, which may change it, and never the guest's.
//
// Guests wait for the end of one write before they begin another to the same block. One that does not may find either
// there; what such calls do to the Disk's own books is the Disk's concern.
//
// A call that has begun is waited for: a device that is stopped or closed waits, too. The context ends only after the last
// call, so a Disk that may hang bounds its calls by itself.
//
// An error that wraps a unix.Errno is told apart in logs; the guest sees IOERR in any case.
type FuncDisk interface {
	Disk
	// ReadAt fills p from byte off on, or fails.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt stores p from byte off on, or fails. It need not be stable before Flush.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Flush makes stable what WriteAt and Zero had completed when it was called: when the guest flushes, after each write of a
	// guest that cannot flush, and at the end of a session that has written.
	Flush(ctx context.Context) error
	// Zero makes n bytes from off on read as zeros. With discard, which a guest's DISCARD is and a WRITE_ZEROES never,
	// they may be forgotten instead: what they read as then is the Disk's choice. DISCARD comes only when Info has a
	// DiscardGranularity.
	Zero(ctx context.Context, off, n int64, discard bool) error
}

// defaultCalls is how many calls of a FuncDisk run at a time.
const defaultCalls = 32

// functions runs the calls of one device's FuncDisk.
type functions struct {
	disk   FuncDisk
	calls  chan call
	ctx    context.Context // shared by the goroutines below, and ended with them
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// call is one call on its way: for a slot, or, without one, a flush for the device's home.
type call struct {
	w       *worker
	dev     *Device
	slot    int32 // none: Flush
	kind    RequestType
	discard bool
	buf     []byte
	off, n  int64
}

func newFunctions(disk FuncDisk, slots, parallel int) *functions {
	// Room for every slot, and a flush of its own: sending never blocks a worker.
	f := &functions{disk: disk, calls: make(chan call, slots+1)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.ended.Add(parallel)
	for range parallel {
		go f.run()
	}
	return f
}

// close ends the goroutines. Nothing is in flight any more.
func (f *functions) close() {
	f.cancel()
	close(f.calls)
	f.ended.Wait()
}

func (f *functions) run() {
	defer f.ended.Done()
	for c := range f.calls {
		res := int32(len(c.buf))
		if err := f.do(&c); err != nil {
			res = -int32(errnoOf(err))
		}
		m := message{kind: msgCalled, slot: c.slot, dev: c.dev, lo: int64(res)}
		if c.slot == none {
			m.kind = msgFlushCalled
		}
		c.w.post(m)
	}
}

func (f *functions) do(c *call) error {
	switch {
	case c.slot == none:
		return f.disk.Flush(f.ctx)
	case c.buf == nil:
		return f.disk.Zero(f.ctx, c.off, c.n, c.discard)
	case c.kind == RequestIn:
		return f.disk.ReadAt(f.ctx, c.buf, c.off)
	}
	return f.disk.WriteAt(f.ctx, c.buf, c.off)
}

// errnoOf finds the errno in an error; EIO when it has none, or one that would have the call made again.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) && errno > 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		return errno
	}
	return unix.EIO
}

// callPiece hands the slot's current piece to the FuncDisk.
func (w *worker) callPiece(s *slot) {
	d := s.queue.dev
	d.functions.calls <- call{
		w: w, dev: d, slot: s.id, kind: s.kind, off: s.off,
		buf: w.buffers.blocks[s.buffer].Bytes()[:s.piece],
	}
}

// callZero hands the rest of the slot's current segment to it.
func (w *worker) callZero(s *slot) {
	s.step, s.piece = stepFallocate, uint32(s.left) // at most 2 GiB: maxDiscardSectors
	d := s.queue.dev
	d.functions.calls <- call{
		w: w, dev: d, slot: s.id, kind: s.kind, discard: s.kind == RequestDiscard, off: s.off, n: int64(s.left),
	}
}
