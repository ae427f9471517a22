package crash

import (
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/test/e2e/guest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// successive is a vublk that another one takes over from, alive: nobody is killed, and the front-end does nothing at all.
type successive struct {
	restarted
	old *guest.Backend
}

func (b *successive) start() error {
	b.old = b.process
	if b.old == nil {
		return b.restarted.start()
	}
	argv := append(append([]string{}, b.argv...), "--take-over")
	next, err := guest.StartBackend(b.dir+"/log", nil, argv...)
	if err != nil {
		return err
	}
	b.process = next
	for deadline := time.Now().Add(comeBackTime); b.old.Running(); time.Sleep(time.Millisecond) {
		switch {
		case !next.Running():
			return errors.Errorf("the new process has ended:\n%s", next.Log())
		case time.Now().After(deadline):
			return errors.New("the old process does not end")
		}
	}
	return errors.Wrap(b.old.Stop(), "the old process") // its exit status
}

func (b *successive) attach(*vhostusertest.Frontend, int) error { return nil }

func (b *successive) kill() error { return nil }
