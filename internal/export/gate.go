package export

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// gate is the device as a session sees it. It takes the lock of the image when the front-end starts a ring and the lock
// is not ours: at a migration's destination, and after the image was given free: when the front-end has gone, and when
// all rings have stopped while the front-end has us log what we write, which is how a migration's source ends.
//
// A ring start is acknowledged at once, since QEMU's whole virtual machine stands still in between; the ring is started
// but held until the lock is there. So a paused source that reconnects executes nothing while another has the image.
//
// The methods of vhostuser.Device are called by the session's goroutine, settle and release by the runner when that
// goroutine is through.
type gate struct {
	*blk.Device
	file *blk.FileDisk

	locked  atomic.Bool
	fail    func(error)
	log     *slog.Logger
	sizes   sizer
	changed func() // tells the front-end of a new size

	used    bool         // a ring was started in this session, or since the image was given free
	started map[int]bool // rings
	logging bool         // the guest is being migrated

	cancel context.CancelFunc // of the attempt that runs; nil: none
	ended  chan struct{}
}

// newGate makes the gate of a device on file, whose lock is ours already or not.
func newGate(d *blk.Device, file *blk.FileDisk, locked bool, fail func(error)) *gate {
	g := &gate{Device: d, file: file, fail: fail, log: slog.New(slog.DiscardHandler), started: make(map[int]bool)}
	g.sizes.file, g.sizes.device, g.changed = file, d, func() {}
	g.locked.Store(locked)
	return g
}

// StartQueue implements vhostuser.Device.
func (g *gate) StartQueue(i int, q *virtio.Queue) error {
	g.used = true
	if !g.locked.Load() && g.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		g.cancel, g.ended = cancel, make(chan struct{})
		go g.acquire(ctx, g.ended)
	}
	err := g.Device.StartQueue(i, q)
	if err == nil {
		g.started[i] = true
	}
	return err
}

// StopQueue implements vhostuser.Device. With the last ring of a guest that is being migrated the image is given free
// before the front-end has its answer: it then lets the destination run. An ordinary pause keeps the image.
func (g *gate) StopQueue(i int) (virtio.Base, error) {
	base, err := g.Device.StopQueue(i)
	delete(g.started, i)
	if g.logging && len(g.started) == 0 && err == nil {
		g.handOver()
	}
	return base, err
}

// SuspendQueue implements vhostuser.Suspender. The guest goes on, so the image is kept, also while it is being migrated.
func (g *gate) SuspendQueue(i int) (virtio.Base, error) {
	delete(g.started, i)
	return g.Device.StopQueue(i)
}

// Reset implements vhostuser.Device.
func (g *gate) Reset() error {
	clear(g.started)
	return g.Device.Reset()
}

// SetLog implements vhostuser.Device.
func (g *gate) SetLog(l *guestmem.DirtyLog) error {
	g.logging = l != nil
	return g.Device.SetLog(l)
}

// handOver gives the image to a migration's destination, when all that the guest was told is on stable storage. Else it
// keeps it, and the destination waits in vain: better no guest than one whose disk has lost writes.
func (g *gate) handOver() {
	switch ours, err := g.yield(); {
	case err != nil:
		g.log.Error("the image is not given to the migration's destination: its writes cannot be brought to stable storage", "error", err)
	case ours:
		g.log.Info("all rings of a guest that is being migrated have stopped: the image is given free")
	}
}

// acquire waits for the lock and lets the held rings run, or ends the session. Whoever had the lock meanwhile may have
// put another image in the place of ours.
func (g *gate) acquire(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	err := g.file.Lock(ctx)
	if err == nil {
		err = g.adopt()
	}
	if err == nil {
		g.log.Info("the image's lock is taken: the rings go")
		g.locked.Store(true)
		g.SetHeld(false)
		return
	}
	g.file.Unlock() // Lock can fail with the locks taken, and Changed always does
	if ctx.Err() == nil {
		g.fail(err)
	}
}

// adopt looks at the image that others could write to. Another one, or one that has shrunk, ends the session; one that
// has grown is served with its new size. A size that cannot be served is no reason to end it while the old one is there.
func (g *gate) adopt() error {
	r, err := g.sizes.look(false)
	switch {
	case err != nil && r.New > r.Old:
		g.log.Warn("the image has grown, and the guest keeps its old size", "error", err)
		return nil
	case err != nil || !r.Changed():
		return err
	}
	g.log.Info("the image has another size than before", "old", FormatSize(r.Old), "new", FormatSize(r.New))
	g.changed()
	return nil
}

// settle ends the attempt to take the lock, if one runs: afterwards the lock is ours or it is not. It is called when the
// session is through, by the runner.
func (g *gate) settle() {
	if g.cancel == nil {
		return
	}
	g.cancel()
	<-g.ended
	g.cancel = nil
}

// giveFree gives the image free although the front-end is there, at an operator's word: its guest was migrated away while it
// was paused. The next ring start takes it again.
func (g *gate) giveFree() error {
	ours, err := g.yield()
	if err != nil {
		return errors.Wrap(err, "the image is kept: its writes cannot be brought to stable storage")
	}
	if ours {
		g.log.Info("the image is given free, as an operator wants it")
	}
	return nil
}

// yield brings to stable storage what the guest was told of and gives the image free; it tells whether the image was ours.
func (g *gate) yield() (ours bool, err error) {
	g.settle()
	if err := g.Flush(); err != nil {
		return false, err
	}
	return g.unlock(), nil
}

// unlock lets others have the image, if it is ours. The rings that start from here on are held until the lock is back.
func (g *gate) unlock() (ours bool) {
	g.used = false
	if ours = g.locked.Swap(false); ours {
		g.SetHeld(true)
		g.file.Unlock()
	}
	return ours
}

// leave lets go of an image that another process has now, on the same description: to unlock it would be to unlock it there.
func (g *gate) leave() {
	g.used = false
	g.locked.Store(false)
}

// release gives the image free once its last request is on stable storage. The next ring start takes it again. A
// front-end that started none, such as a probe for a stale socket, leaves the lock where it was.
func (g *gate) release() {
	if !g.used {
		return
	}
	g.settle()
	g.unlock()
}
