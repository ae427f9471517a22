package iouring

import (
	"sync/atomic"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Enter submits everything pending and waits until at least wait completions are there (io_uring_enter(2)). nil does
// not promise them: a signal (EINTR, or submitted and not waited), a kernel short of memory (EAGAIN), a full backlog
// (EBUSY) and a submission cut short all return nil. The caller looks at Ready and Pending and goes round.
//
// With wait 0 it does not block, but still runs task work and brings overflowed completions into the CQ.
func (r *Ring) Enter(wait uint32) error {
	// From tail - head each time, never a remembered count: after EINTR the kernel may have taken some or all.
	atomic.StoreUint32(r.sq.tail, r.sq.next)
	errno := enter(r.enterFD, r.Pending(), wait, r.enterFlags)
	switch errno {
	case 0, unix.EINTR, unix.EAGAIN, unix.EBUSY:
		return nil
	}
	return enterError(errno)
}

// enterError explains the errors that are mistakes of the caller.
func enterError(errno unix.Errno) error {
	switch errno {
	case unix.EEXIST:
		return errors.Wrap(errno, "io_uring_enter: this is not the thread that enabled the ring;"+
			" its goroutine must call runtime.LockOSThread before Enable and never unlock")
	case unix.EBADFD:
		return errors.Wrap(errno, "io_uring_enter: the ring is not enabled; call Enable first")
	default:
		return errors.Wrap(errno, "io_uring_enter")
	}
}
