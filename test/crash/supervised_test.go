package crash

import (
	"syscall"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// supervised is a vublk whose worker is killed: the supervisor starts another, and the front-end does nothing at all.
type supervised struct {
	restarted
	worker int // process id
}

func (b *supervised) start() (err error) {
	if b.process == nil {
		if err := b.restarted.start(); err != nil {
			return err
		}
	}
	b.worker, err = b.process.Worker(b.worker)
	return err
}

func (b *supervised) attach(*vhostusertest.Frontend, int) error { return nil }

func (b *supervised) kill() error { return guest.KillProcess(b.worker) }

// signal is for the supervisor.
func (b *supervised) signal(sig syscall.Signal) error {
	return errors.Wrapf(syscall.Kill(b.process.PID(), sig), "%v to the supervisor", sig)
}
