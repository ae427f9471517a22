package bench

import (
	"runtime"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// pin locks the goroutine to its thread and the thread to a CPU; a negative one only locks. The caller calls undo from
// the same goroutine, and gives a thread back that is as it was: a thread that ends takes children with it that asked
// for a signal at their parent's death (prctl(2), PR_SET_PDEATHSIG).
func pin(cpu int) (undo func() error, err error) {
	runtime.LockOSThread()
	if cpu < 0 {
		return func() error { runtime.UnlockOSThread(); return nil }, nil
	}
	var before, now unix.CPUSet
	now.Set(cpu)
	if err = unix.SchedGetaffinity(0, &before); err == nil {
		err = unix.SchedSetaffinity(0, &now)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, errors.Wrapf(err, "run on CPU %d", cpu)
	}
	return func() error {
		err := unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
		return errors.Wrap(err, "give a CPU back")
	}, nil
}
