package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// GoneError tells that there is no process to measure any more, or never was.
type GoneError struct{ PID int }

func (e *GoneError) Error() string { return fmt.Sprintf("process %d has ended", e.PID) }

// Meter reads what another process has used so far.
type Meter struct {
	pid   int
	born  string // the process's start time: a pid may come back as somebody else's
	clock int32
}

// Usage is what a process has used since it began, or between two readings.
type Usage struct {
	CPU time.Duration // of all its threads, io_uring's in the kernel (io-wq) included, and of those that have ended
	// Switches are those of the threads that live now: the kernel forgets those of a thread that ends, so a difference may
	// even be negative where io-wq's threads come and go.
	Voluntary, Involuntary int64
	// Threads and Memory are as they were at the (later) reading.
	Threads int
	Memory  int64 // bytes of RssAnon + RssFile: guest memory is shared, and not the process's own
}

// Sub returns what was used between before and u.
func (u Usage) Sub(before Usage) Usage {
	u.CPU -= before.CPU
	u.Voluntary -= before.Voluntary
	u.Involuntary -= before.Involuntary
	return u
}

// Switches is the sum of both kinds of context switches.
func (u Usage) Switches() int64 { return u.Voluntary + u.Involuntary }

// NewMeter returns a meter of the process pid. The error is a *GoneError when there is none.
func NewMeter(pid int) (*Meter, error) {
	if pid <= 0 {
		return nil, errors.Errorf("no process has the id %d", pid)
	}
	born, err := startTime(pid)
	if err != nil {
		return nil, err
	}
	// CPUCLOCK_SCHED of the process (clock_getcpuclockid(3) makes the same number).
	return &Meter{pid: pid, born: born, clock: ^int32(pid)<<3 | 2}, nil
}

// PID returns the process's id.
func (m *Meter) PID() int { return m.pid }

// CPU reads Usage.CPU alone: one system call, no allocation. The error is a *GoneError when the process has ended.
func (m *Meter) CPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(m.clock, &t); err != nil {
		return 0, m.gone(err)
	}
	return time.Duration(t.Nano()), nil
}

// Read reads all: some 20 us and 10 us for each thread. The error is a *GoneError when the process has ended.
func (m *Meter) Read() (Usage, error) {
	u, err := m.counts()
	if err != nil {
		return Usage{}, err
	}
	if u.CPU, err = m.CPU(); err != nil {
		return Usage{}, err
	}
	born, err := startTime(m.pid)
	if err == nil && born != m.born {
		err = errors.WithStack(&GoneError{m.pid})
	}
	return u, err
}

// counts reads what is in /proc.
func (m *Meter) counts() (Usage, error) {
	var u Usage
	for field, n := range map[string]int64{"RssAnon": 1 << 10, "RssFile": 1 << 10} {
		kib, err := m.field(fmt.Sprintf("/proc/%d/status", m.pid), field)
		if err != nil {
			return Usage{}, err
		}
		u.Memory += kib[0] * n
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", m.pid))
	if err != nil {
		return Usage{}, errors.Wrap(err, "list threads")
	}
	for _, path := range tasks {
		n, err := m.field(path, "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
		if gone := (*GoneError)(nil); errors.As(err, &gone) {
			continue // the thread; whether the process is gone, too, is seen next
		}
		if err != nil {
			return Usage{}, err
		}
		u.Threads++
		u.Voluntary += n[0]
		u.Involuntary += n[1]
	}
	return u, nil
}

// field reads numbers out of a status file (proc_pid_status(5)).
func (m *Meter) field(path string, names ...string) ([]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, m.gone(err)
	}
	numbers := make([]int64, len(names))
	for i, name := range names {
		_, rest, ok := bytes.Cut(text, []byte("\n"+name+":"))
		words := bytes.Fields(rest)
		if !ok || len(words) == 0 {
			return nil, m.gone(unix.ESRCH) // of a zombie, which has no memory
		}
		if numbers[i], err = strconv.ParseInt(string(words[0]), 10, 64); err != nil {
			return nil, errors.Wrapf(err, "%s in %s", name, path)
		}
	}
	return numbers, nil
}

// gone gives the errors of a process that is not there one type.
func (m *Meter) gone(err error) error {
	// clock_gettime(2) says EINVAL of the clock of a process that is not there.
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		return errors.WithStack(&GoneError{m.pid})
	}
	return errors.Wrapf(err, "measure process %d", m.pid)
}

// startTime returns field 22 of /proc/PID/stat, in the kernel's unit.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", (&Meter{pid: pid}).gone(err)
	}
	// The name, field 2, stands in parentheses and may hold anything, parentheses too.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return "", errors.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(fields))
	}
	return string(fields[19]), nil
}
