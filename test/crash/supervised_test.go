package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// supervised is a vublk whose worker is killed: the supervisor starts another, and the front-end does nothing at all.
type supervised struct {
	restarted
	worker int // process id
}

func (b *supervised) start() error {
	if b.process == nil {
		if err := b.restarted.start(); err != nil {
			return err
		}
	}
	before := b.worker
	for deadline := time.Now().Add(comeBackTime); ; time.Sleep(time.Millisecond) {
		pid, err := child(b.process.PID())
		switch {
		case err == nil && pid != 0 && pid != before && leads(pid):
			b.worker = pid
			return nil
		case !b.process.Running():
			return errors.New("the supervisor has ended")
		case time.Now().After(deadline):
			return errors.Errorf("no worker after %d: %v", before, err)
		}
	}
}

func (b *supervised) attach(*vhostusertest.Frontend, int) error { return nil }

func (b *supervised) kill() error {
	pidfd, err := unix.PidfdOpen(b.worker, 0)
	if err != nil {
		return errors.Wrapf(err, "worker %d", b.worker)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
		return errors.Wrapf(err, "kill worker %d", b.worker)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(comeBackTime/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return errors.Wrap(err, "wait for a worker's end")
		case n == 0:
			return errors.Errorf("worker %d does not die", b.worker)
		default:
			return nil
		}
	}
}

// leads tells a worker, which has a process group of its own, from what Go's runtime forks for a moment.
func leads(pid int) bool {
	group, err := unix.Getpgid(pid)
	return err == nil && group == pid
}

// child returns the only child of a process; 0: it has none.
func child(pid int) (int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	var children []string
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			return 0, err
		}
		children = append(children, strings.Fields(string(b))...)
	}
	switch len(children) {
	case 0:
		return 0, nil
	case 1:
		return strconv.Atoi(children[0])
	}
	return 0, errors.Errorf("process %d has children %v", pid, children)
}
