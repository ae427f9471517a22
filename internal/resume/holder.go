package resume

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// Variables that tell a process of its holder.
const (
	// SupervisorVariable holds the number of the socket to our supervisor.
	SupervisorVariable = "VUBLK_SUPERVISOR"

	notifyVariable = "NOTIFY_SOCKET"
	listenPID      = "LISTEN_PID"
	listenFDs      = "LISTEN_FDS"
	listenNames    = "LISTEN_FDNAMES"
	firstListenFD  = 3 // SD_LISTEN_FDS_START
)

// Holder is the process that keeps descriptors for our successor. Any goroutine may use it.
type Holder struct {
	sock       *sys.FD
	supervised bool

	awaited sync.RWMutex // held to read while AwaitHandOver uses the socket

	patience time.Duration // of Barrier

	mu     sync.Mutex
	lost   error   // why nothing is kept any more
	late   *sys.FD // closes at the other end when systemd has read a Barrier that was not waited for any longer; nil: there is none
	closed bool
}

// Connect finds the holder that this process was started under; nil: there is none.
func Connect() (*Holder, error) {
	if text := os.Getenv(SupervisorVariable); text != "" {
		if err := os.Unsetenv(SupervisorVariable); err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, errors.Wrapf(err, "variable %s", SupervisorVariable)
		}
		unix.CloseOnExec(n)
		return &Holder{sock: sys.NewFD(n), supervised: true}, nil
	}
	path := os.Getenv(notifyVariable)
	if path == "" {
		return nil, nil
	}
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrap(err, "make a socket to systemd")
	}
	// "@" stands for the abstract namespace, for systemd and for package unix.
	if err := unix.Connect(n, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(n)
		return nil, errors.Wrapf(err, "connect to systemd at %s", path)
	}
	return &Holder{sock: sys.NewFD(n), patience: barrierTimeout}, nil
}

// Close ends the connection; what is kept is kept.
func (h *Holder) Close() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	_ = h.late.Close()
	h.late, h.closed = nil, true
	h.mu.Unlock()
	_ = unix.Shutdown(h.sock.Int(), unix.SHUT_RD) // wakes AwaitHandOver
	h.awaited.Lock()
	defer h.awaited.Unlock()
	return h.sock.Close()
}

// Supervised tells whether the holder is our own supervisor.
func (h *Holder) Supervised() bool { return h != nil && h.supervised }

// Store has the holder keep a duplicate of fd under a name that nothing else has there. Systemd keeps each open file once,
// under the first name, and says nothing of the others; the guests of a front-end with two disks are one file of memory. So
// it gets an open file of its own, where there can be one. An eventfd must not come twice.
func (h *Holder) Store(name string, fd int) error {
	if !h.supervised {
		if own := sys.Reopen(fd); own != nil {
			defer func() { _ = own.Close() }()
			fd = own.Int()
		}
	}
	return h.send([]int{fd}, FieldStore+"=1", FieldPoll+"=0", FieldName+"="+name)
}

// Remove has the holder forget a name.
func (h *Holder) Remove(name string) error {
	return h.send(nil, FieldRemove+"=1", FieldName+"="+name)
}

// Notify sends fields, NAME=value.
func (h *Holder) Notify(fields ...string) error {
	if h == nil {
		return nil
	}
	return h.send(nil, fields...)
}

// Lost tells why nothing is kept any more, nil when all is well.
func (h *Holder) Lost() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *Holder) lose(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		h.lost = err
	}
	return h.lost
}

func (h *Holder) send(fds []int, fields ...string) error {
	if err := h.Lost(); err != nil {
		return err
	}
	if err := send(h.sock.Int(), fds, fields...); err != nil {
		return h.lose(errors.Wrap(err, "speak to the holder"))
	}
	return nil
}

// Inherited returns what a predecessor has had kept, by name; the caller owns it. It waits until the supervisor has handed
// out everything.
func (h *Holder) Inherited() (map[string]*sys.FD, error) {
	kept := map[string]*sys.FD{}
	if h == nil {
		return kept, nil
	}
	if !h.supervised {
		return kept, inheritListenFDs(kept)
	}
	for {
		m, err := Receive(h.sock.Int())
		switch {
		case err != nil:
			return kept, errors.Wrap(err, "wait for the supervisor")
		case m.Fields[FieldGo] != "":
			return kept, nil
		case len(m.Fields) == 0:
			return kept, errors.New("wait for the supervisor: it has died")
		}
		names := strings.Split(m.Fields[FieldNames], ":")
		if len(names) != len(m.FDs) {
			m.Close()
			return kept, errors.Errorf("the supervisor sends %d descriptors with %d names", len(m.FDs), len(names))
		}
		for i, name := range names {
			put(kept, name, m.FDs[i])
		}
	}
}

// put keeps the last of a name.
func put(kept map[string]*sys.FD, name string, fd *sys.FD) {
	_ = kept[name].Close()
	kept[name] = fd
}

// inheritListenFDs takes what systemd's store had (sd_listen_fds(3)).
func inheritListenFDs(kept map[string]*sys.FD) error {
	pid, count := os.Getenv(listenPID), os.Getenv(listenFDs)
	if pid != strconv.Itoa(os.Getpid()) || count == "" {
		return nil
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return errors.Wrapf(err, "variable %s", listenFDs)
	}
	names := strings.Split(os.Getenv(listenNames), ":")
	for i := range n {
		fd := firstListenFD + i
		unix.CloseOnExec(fd)
		name := ""
		if i < len(names) {
			name = names[i]
		}
		put(kept, name, sys.NewFD(fd))
	}
	for _, v := range []string{listenPID, listenFDs, listenNames} {
		if err := os.Unsetenv(v); err != nil {
			return err
		}
	}
	return nil
}

// AwaitHandOver returns nil when the supervisor wants this process to leave everything to it, and an error when the
// supervisor has died. With systemd it blocks for ever: call it in a goroutine of its own, which Close ends.
func (h *Holder) AwaitHandOver() error {
	h.awaited.RLock()
	defer h.awaited.RUnlock()
	for {
		m, err := Receive(h.sock.Int())
		if err == nil && len(m.Fields) == 0 {
			err = errors.New("the supervisor has died")
		}
		if err != nil {
			return h.lose(err)
		}
		m.Close()
		if m.Fields[FieldHandOver] != "" {
			return nil
		}
	}
}
