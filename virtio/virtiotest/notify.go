package virtiotest

import (
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// Publish makes the chains added available and kicks the device if it wants that.
func (d *Driver) Publish() (kicked bool, err error) {
	added, kick := false, false
	if d.packed {
		added, kick = d.ring.publish()
	} else {
		added, kick = d.split.publish()
	}
	if !added || !kick {
		return false, nil
	}
	return true, sys.Signal(d.kick.Int())
}

// DisableCalls tells the device that we look by ourselves.
func (d *Driver) DisableCalls() {
	if d.packed {
		d.ring.disableCalls()
	} else {
		d.split.disableCalls()
	}
}

// EnableCalls asks for a call with the next completion. True: there is one already, do not wait.
func (d *Driver) EnableCalls() (pending bool) {
	if d.packed {
		return d.ring.enableCalls()
	}
	return d.split.enableCalls()
}

// KickFD returns the eventfd that Publish signals; CallFD and ErrFD those that the device signals. They stay the driver's.
func (d *Driver) KickFD() int { return d.kick.Int() }

// CallFD returns the eventfd that the device signals for completions.
func (d *Driver) CallFD() int { return d.call.Int() }

// ErrFD returns the eventfd that the device signals when it gives the queue up.
func (d *Driver) ErrFD() int { return d.errfd.Int() }

// Kick signals the device whatever it said.
func (d *Driver) Kick() error { return sys.Signal(d.kick.Int()) }

// WaitCall waits for a call and consumes it. False: none came in time.
func (d *Driver) WaitCall(timeout time.Duration) (bool, error) {
	return waitEvent(d.call.Int(), timeout)
}

// WaitKick waits for a kick and consumes it, for devices that run in a test. False: none came in time.
func (d *Driver) WaitKick(timeout time.Duration) (bool, error) {
	return waitEvent(d.kick.Int(), timeout)
}

func waitEvent(fd int, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll(fds[:], int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, errors.Wrap(err, "wait for an eventfd")
		case n == 0:
			return false, nil
		default:
			count, err := sys.Drain(fd)
			return count > 0, err
		}
	}
}
