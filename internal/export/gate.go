package export

import (
	"context"
	"sync/atomic"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// gate is the device as a session sees it. It takes the lock of the image when the front-end starts a ring and the lock
// is not ours: at a migration's destination, and after an earlier front-end had gone and the image was given free.
//
// A ring start is acknowledged at once, since QEMU's whole virtual machine stands still in between; the ring is started
// but held until the lock is there. So a paused source that reconnects executes nothing while another has the image.
//
// StartQueue is called by the session's goroutine, settle and release by the runner when that goroutine is through.
type gate struct {
	*blk.Device
	file *blk.FileDisk

	locked atomic.Bool
	fail   func(error)

	used   bool               // a ring was started in this session
	cancel context.CancelFunc // of the attempt that runs; nil: none
	ended  chan struct{}
}

// newGate makes the gate of a device on file, whose lock is ours already or not.
func newGate(d *blk.Device, file *blk.FileDisk, locked bool, fail func(error)) *gate {
	g := &gate{Device: d, file: file, fail: fail}
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
	return g.Device.StartQueue(i, q)
}

// acquire waits for the lock and lets the held rings run, or ends the session. Whoever had the lock meanwhile may have
// put another image in the place of ours.
func (g *gate) acquire(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	err := g.file.Lock(ctx)
	if err == nil {
		err = g.file.Changed()
	}
	if err == nil {
		g.locked.Store(true)
		g.SetHeld(false)
		return
	}
	g.file.Unlock() // Lock can fail with the locks taken, and Changed always does
	if ctx.Err() == nil {
		g.fail(err)
	}
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

// release gives the image free once its last request is on stable storage. The next ring start takes it again. A
// front-end that started none, such as a probe for a stale socket, leaves the lock where it was.
func (g *gate) release() {
	if !g.used {
		return
	}
	g.used = false
	g.settle()
	if g.locked.Swap(false) {
		g.SetHeld(true)
		g.file.Unlock()
	}
}
