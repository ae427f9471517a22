package crash

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
)

// comeBackTime is how long a back-end may take to be there, or to go, when a slow disk keeps it. That requests are not kept as
// long the loaders demand (limit).
const comeBackTime = 2 * time.Minute

// backend is a program that serves, is killed, and comes back.
type backend interface {
	// start has it run: the first time, and after each kill.
	start() error
	// attach returns when it has the guest again after a kill.
	attach(f *vhostusertest.Frontend, queues int) error
	// kill returns when the process that does the I/O is gone.
	kill() error
	// stop ends it; it must end well.
	stop() error
	// log is what it wrote.
	log() string
	// path is its socket.
	path() string
}

// restarted is a back-end that the rig starts again after each kill. The front-end connects again and does what QEMU does.
type restarted struct {
	argv    []string
	dir     string
	socket  string
	process *guest.Backend
}

func (b *restarted) path() string { return b.socket }

func (b *restarted) log() string {
	if b.process == nil {
		return ""
	}
	return b.process.Log()
}

func (b *restarted) start() (err error) {
	b.process, err = guest.StartBackend(filepath.Join(b.dir, "log"), nil, b.argv...)
	return err
}

func (b *restarted) kill() error {
	b.process.Kill()
	return nil
}

func (b *restarted) stop() error { return b.process.Stop() }

// attach is QEMU's way: all is negotiated again, and rings go on at the used index (split), or where they were when they
// last started (packed). What was in flight is the back-end's business.
func (b *restarted) attach(f *vhostusertest.Frontend, queues int) error {
	if err := f.Disconnect(); err != nil {
		return err
	}
	if !f.Features().Has(virtio.FeatureRingPacked) {
		for i := range queues {
			f.SetBase(i, virtio.Base(f.Queue(i).Split().UsedIdx()))
		}
	}
	c, err := dial(b.socket, b.process.Running)
	if err != nil {
		return err
	}
	if err := f.Reconnect(c); err != nil {
		return err
	}
	return f.Start()
}

// terminated is a back-end that is asked to end instead of being killed: what it has fetched it completes before.
type terminated struct{ restarted }

func (b *terminated) kill() error {
	err := b.process.StopWithin(comeBackTime)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
			return nil // it was told so early that it did not listen to signals yet
		}
	}
	return err
}

// dial connects as soon as somebody listens.
func dial(socket string, running func() bool) (*vhostusertest.Conn, error) {
	for deadline := time.Now().Add(comeBackTime); ; time.Sleep(time.Millisecond) {
		alive := running()
		c, err := vhostusertest.Dial(socket)
		switch {
		case err == nil:
			return c, nil
		case !alive:
			return nil, errors.New("the back-end has ended by itself")
		case time.Now().After(deadline):
			return nil, err
		}
	}
}
