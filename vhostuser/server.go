package vhostuser

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// What Listen refuses, for errors.Is.
var (
	// ErrPathTooLong tells that a socket path does not fit into struct sockaddr_un.
	ErrPathTooLong = errors.New("socket path is too long")
	// ErrInUse tells that a running process listens on the path.
	ErrInUse = errors.New("socket is in use by a running process")
	// ErrNotSocket tells that a file that is no socket has the path.
	ErrNotSocket = errors.New("file exists and is not a socket")
)

// maxPath is the longest path of a socket: sun_path is 108 bytes with the NUL at its end (unix(7)).
const maxPath = 107

// probeTimeout bounds the connect that finds out whether a socket is alive. A listener with a full backlog makes a
// blocking connect wait.
const probeTimeout = time.Second

// Listener is a listening socket and the file that is its name.
type Listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // nil: the name was gone before we could look at it
	once sync.Once
	err  error
}

// Close ends the listening and removes the file, unless the name is another socket's by now: the file may have been
// removed or moved, and another process listens at the path. The inode is not used again as long as our socket is open,
// so the file goes first. A second call does nothing.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.err = l.remove()
		if err := l.UnixListener.Close(); err != nil {
			l.err = err
		}
	})
	return l.err
}

// Named tells whether there was a file of the listener's name when it was made.
func (l *Listener) Named() bool { return l.file != nil }

func (l *Listener) remove() error {
	unlock := lockDir(filepath.Dir(l.path))
	defer unlock()
	info, err := os.Lstat(l.path)
	if err == nil && l.file != nil && os.SameFile(info, l.file) {
		err = os.Remove(l.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Wrapf(err, "remove socket %s", l.path)
}

// Listen makes a listening socket at path with the mode that the caller's umask leaves. A socket that a dead process
// left behind is replaced. The file goes away when the listener is closed. An error is ErrInUse, ErrNotSocket, ErrPathTooLong
// or the kernel's, with the path.
func Listen(path string) (*Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "@") {
		path = "./" + path // package net takes "@" for an abstract socket
	}
	unlock := lockDir(filepath.Dir(path))
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, errors.Wrapf(err, "listen on %s", path)
	}
	l.SetUnlinkOnClose(false) // package net would remove whatever has the name
	info, err := os.Lstat(path)
	if err != nil {
		info = nil
	}
	return &Listener{UnixListener: l, path: path, file: info}, nil
}

// ListenOn takes over a socket that listens at path in the place of another process. It owns fd, also on an error: fd is no
// such socket.
func ListenOn(path string, fd int) (*Listener, error) {
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }() // package net works on a duplicate
	l, err := net.FileListener(f)
	if err != nil {
		return nil, errors.Wrapf(err, "listen on %s", path)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		_ = l.Close()
		return nil, errors.Errorf("listen on %s: not a Unix socket", path)
	}
	u.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err != nil {
		info = nil
	}
	return &Listener{UnixListener: u, path: path, file: info}, nil
}

func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("the socket path is empty")
	case strings.ContainsRune(path, 0):
		return errors.Errorf("socket path %q contains a NUL", path)
	case len(path) > maxPath:
		return errors.Wrapf(ErrPathTooLong, "%s: %d bytes, the limit is %d", path, len(path), maxPath)
	}
	return nil
}

// RemoveStale removes the socket that a dead process has left at path. What is alive, or is no socket, stays, and that is no error.
func RemoveStale(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	unlock := lockDir(filepath.Dir(path))
	defer unlock()
	if err := removeStale(path); err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrNotSocket) {
		return err
	}
	return nil
}

// removeStale makes room at path when a dead process left its socket there.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errors.Wrapf(err, "look at socket %s", path)
	case info.Mode()&fs.ModeType != fs.ModeSocket:
		return errors.Wrap(ErrNotSocket, path)
	}
	switch err := probe(path); {
	case errors.Is(err, unix.ECONNREFUSED):
		return errors.Wrapf(os.Remove(path), "remove stale socket %s", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone in the meantime
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE), errors.Is(err, os.ErrDeadlineExceeded):
		// Answered, its backlog is full, or it is a live socket of another type.
		return errors.Wrap(ErrInUse, path)
	default:
		return errors.Wrapf(err, "find out whether socket %s is in use", path)
	}
}

// probe connects and leaves at once: to a live back-end it is a front-end that goes away without a word.
func probe(path string) error {
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err != nil {
		return err
	}
	return c.Close()
}

// lockTries times lockPause is how long we wait for another process that makes a socket in the same directory.
const (
	lockTries = 100
	lockPause = 10 * time.Millisecond
)

// dirs lets one goroutine at a time have a directory's lock: a thousand exports that start together would else lose their
// patience with each other, and leave the runtime with threads that never end.
var dirs struct {
	sync.Mutex
	gaveUp bool // the last one waited in vain: the next ones try once, a thousand must not wait a thousand times
}

// lockDir keeps two processes of ours apart that find the same stale socket: the second would remove the first one's
// new socket. The lock is advice among us; a directory that cannot be opened or locked is used without.
func lockDir(dir string) (unlock func()) {
	dirs.Lock()
	f, err := os.Open(dir)
	if err != nil {
		return dirs.Unlock
	}
	tries := lockTries
	if dirs.gaveUp {
		tries = 1
	}
	dirs.gaveUp = true
	for range tries {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			dirs.gaveUp = false
			break
		}
		time.Sleep(lockPause)
	}
	return func() {
		_ = f.Close()
		dirs.Unlock()
	}
}
