package resume

import (
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// barrierTimeout bounds the wait for systemd, which hears nothing while it reloads its units, say.
const barrierTimeout = 5 * time.Second

// Barrier returns when everything sent before is kept. Our supervisor has it as soon as it is sent; systemd forgets what it
// has not read when the sender dies, so it is waited for (sd_notify_barrier(3)): once. As long as that one has no answer the
// next ones fail without a wait, and what was sent may or may not be kept.
func (h *Holder) Barrier() error {
	if h.supervised {
		return nil
	}
	if h.isLate() {
		return errors.Errorf("the process at %s has not answered yet", notifyVariable)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return errors.Wrap(err, "make a barrier")
	}
	answer := sys.NewFD(p[0])
	err := h.send([]int{p[1]}, FieldBarrier+"=1")
	_ = unix.Close(p[1])
	if err != nil {
		_ = answer.Close()
		return err
	}
	closed, err := awaitHangUp(answer, h.patience)
	if err == nil && !closed {
		h.wait(answer)
		return errors.Errorf("the process at %s did not answer within %v", notifyVariable, h.patience)
	}
	_ = answer.Close()
	return err
}

// wait leaves the answer to a barrier to isLate.
func (h *Holder) wait(answer *sys.FD) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late != nil || h.closed {
		_ = answer.Close() // the other one is as good: systemd reads in order
		return
	}
	h.late = answer
}

// isLate tells whether there is a barrier that systemd has not answered, long after it was sent.
func (h *Holder) isLate() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late == nil {
		return false
	}
	if closed, err := awaitHangUp(h.late, 0); err == nil && !closed {
		return true
	}
	_ = h.late.Close()
	h.late = nil
	return false
}

// awaitHangUp waits until the other end of a pipe is closed, for as long at most.
func awaitHangUp(pipe *sys.FD, limit time.Duration) (closed bool, err error) {
	poll := []unix.PollFd{{Fd: int32(pipe.Int())}}
	for deadline := time.Now().Add(limit); ; {
		n, err := unix.Poll(poll, int(max(time.Until(deadline), 0)/time.Millisecond))
		switch {
		case n > 0:
			return true, nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return false, errors.Wrap(err, "wait for a barrier")
		case !time.Now().Before(deadline):
			return false, nil
		}
	}
}
