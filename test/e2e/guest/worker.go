package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// workerTime is how long a supervisor may take to have a worker, and to say what it is waited for.
const workerTime = time.Minute

// Worker waits until a vublk under --supervise has one child and that is not the process before, and returns it.
func (b *Backend) Worker(before int) (pid int, err error) {
	for deadline := time.Now().Add(workerTime); ; time.Sleep(time.Millisecond) {
		pid, err := child(b.PID())
		switch {
		case err == nil && pid != 0 && pid != before && Leads(pid):
			return pid, nil
		case !b.Running():
			return 0, errors.New("the supervisor has ended")
		case time.Now().After(deadline):
			return 0, errors.Errorf("no worker after %d: %v", before, err)
		}
	}
}

// Leads tells a worker, which has a process group of its own, from what Go's runtime forks for a moment.
func Leads(pid int) bool {
	group, err := unix.Getpgid(pid)
	return err == nil && group == pid
}

// child returns the only child of a process; 0: it has none.
func child(pid int) (int, error) {
	switch children, err := Children(pid); {
	case err != nil:
		return 0, err
	case len(children) == 0:
		return 0, nil
	case len(children) > 1:
		return 0, errors.Errorf("process %d has children %v", pid, children)
	default:
		return children[0], nil
	}
}

// Children returns the processes that a process has started.
func Children(pid int) (children []int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				return nil, errors.Wrap(err, task)
			}
			children = append(children, n)
		}
	}
	return children, nil
}

// KillProcess kills a process that need not be a child of ours, and returns when it is gone.
func KillProcess(pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Wrapf(err, "process %d", pid)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
		return errors.Wrapf(err, "kill process %d", pid)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(workerTime/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return errors.Wrap(err, "wait for a process's end")
		case n == 0:
			return errors.Errorf("process %d does not die", pid)
		default:
			return nil
		}
	}
}

// AwaitLog waits until the log matches an expression for the nth time, and returns that match with its groups.
func (b *Backend) AwaitLog(expression *regexp.Regexp, n int) ([]string, error) {
	for deadline := time.Now().Add(workerTime); ; time.Sleep(5 * time.Millisecond) {
		running := b.Running()
		found := expression.FindAllStringSubmatch(b.Log(), n)
		switch {
		case len(found) == n:
			return found[n-1], nil
		case !running:
			return nil, errors.Errorf("the back-end has ended and said %q only %d times, not %d", expression, len(found), n)
		case time.Now().After(deadline):
			return nil, errors.Errorf("the back-end has said %q only %d times, not %d, within %v", expression, len(found), n, workerTime)
		}
	}
}
