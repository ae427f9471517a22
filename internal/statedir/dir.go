package statedir

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/crashpoint"
)

// Dir is a directory that this process has, and no other.
type Dir struct {
	path string
	lock *os.File
	self *os.File // to have its entries on the disk

	mu    sync.Mutex      // one writer at a time: they may have the same name
	newer map[string]bool // files that wait for a newer program
}

// Value is what is kept under a name, as JSON.
type Value struct {
	Name string
	JSON json.RawMessage
}

// Damage is a file that could not be believed.
type Damage struct {
	File string // its path now
	Err  error  // why
}

// lockPause is how often a directory that another process has is tried again.
const lockPause = 20 * time.Millisecond

// Open takes a directory, which it makes when there is none (mode 0700). For a while it waits for another process to let go
// of it: a killed one does that when the last of its I/O has ended.
func Open(path string, patience time.Duration) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, errors.Wrap(err, "state directory")
	}
	if err := make0700(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if d.self, err = os.Open(path); err != nil {
		return nil, errors.Wrap(err, "open the state directory")
	}
	if d.lock, err = openFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE); err != nil {
		_ = d.self.Close()
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
			return nil, errors.Wrapf(err, "state directory %s cannot be written to: make it writable, or take another one", path)
		}
		return nil, errors.Wrapf(err, "lock the state directory %s", path)
	}
	if err := d.take(patience); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// make0700 makes a directory with its parents, and has its name on the disk.
func make0700(path string) error {
	st, err := os.Stat(path)
	switch {
	case err == nil && !st.IsDir():
		return errors.Errorf("state directory %s: it is not a directory; take another path", path)
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return errors.Wrap(err, "state directory")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return errors.Wrap(err, "make the state directory")
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return errors.Wrap(err, "make the state directory")
	}
	defer func() { _ = parent.Close() }()
	return errors.Wrap(syncDirectory(parent), "make the state directory")
}

// syncDirectory is fsync; a file system that has none for directories keeps their order itself.
func syncDirectory(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// openFile opens a file that is none other's by way of a link.
func openFile(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
}

// take locks the directory and says in the lock file who has it.
func (d *Dir) take(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(lockPause) {
		err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			// For people; the lock alone counts. A full disk is no reason to serve nothing.
			_ = d.lock.Truncate(0)
			_, _ = d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return errors.Wrapf(err, "lock the state directory %s", d.path)
		case time.Now().After(deadline):
			return errors.Errorf("state directory %s: another daemon has it%s; stop that one, or take another directory", d.path, d.owner())
		}
	}
}

// owner names the process that has the lock, if it has said so.
func (d *Dir) owner() string {
	b := make([]byte, 32)
	n, _ := d.lock.ReadAt(b, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

// Path is the directory.
func (d *Dir) Path() string { return d.path }

// Owns tells whether a file there would be one of the directory's own, or would be taken for one: it would be written over, or be
// removed, or set aside.
func (d *Dir) Owns(path string) bool {
	file := filepath.Base(path)
	if file != lockFile && !strings.HasPrefix(file, temporary) && !strings.Contains(file, ending) {
		return false
	}
	there, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return false
	}
	here, err := d.self.Stat()
	return err == nil && os.SameFile(there, here)
}

// Close lets go of the directory.
func (d *Dir) Close() error {
	_ = d.self.Close()
	if d.lock == nil {
		return nil
	}
	return errors.Wrap(d.lock.Close(), "close the state directory")
}

// Load reads everything. What is damaged is set aside: it gets another name, so that it is neither believed nor written over,
// and does not keep the rest from being read. What is left of a Put that was cut off is removed.
func (d *Dir) Load() ([]Value, []Damage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, nil, errors.Wrap(err, "read the state directory")
	}
	var values []Value
	var bad []Damage
	for _, entry := range entries {
		file := entry.Name()
		switch {
		case strings.HasPrefix(file, temporary):
			_ = os.Remove(filepath.Join(d.path, file)) // the next Put of it writes over it otherwise
		case strings.HasSuffix(file, ending):
			v, err := d.read(file)
			if err != nil {
				bad = append(bad, d.setAside(file, err))
				continue
			}
			values = append(values, v)
		case strings.Contains(file, ending+damaged):
			bad = append(bad, Damage{File: filepath.Join(d.path, file), Err: errors.New("set aside earlier")})
		}
	}
	return values, bad, nil
}

func (d *Dir) read(file string) (Value, error) {
	f, err := openFile(filepath.Join(d.path, file), os.O_RDONLY)
	if err != nil {
		return Value{}, err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return Value{}, errors.New("it is not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return Value{}, err
	case len(b) > maxFile:
		return Value{}, errors.New("it is too large")
	}
	c, err := decode(b)
	if err != nil {
		return Value{}, err
	}
	if fileName(c.Name) != file {
		return Value{}, errors.Errorf("it holds %q, whose file is %s: a copy?", c.Name, fileName(c.Name))
	}
	return Value{Name: c.Name, JSON: c.Value}, nil
}

// SetAside is for a value that was read, and means nothing to the caller because of err, which may be ErrTooNew.
func (d *Dir) SetAside(name string, err error) Damage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.setAside(fileName(name), err)
}

// setAside gives a damaged file another name, if that can be done. What is not damaged but too new keeps its name, and Put does
// not write over it.
func (d *Dir) setAside(file string, err error) Damage {
	path := filepath.Join(d.path, file)
	if errors.Is(err, ErrTooNew) {
		if d.newer == nil {
			d.newer = map[string]bool{}
		}
		d.newer[file] = true
		return Damage{File: path, Err: err}
	}
	for n := 1; n < 1000; n++ {
		to := path + damaged + strconv.Itoa(n)
		switch e := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); {
		case e == nil:
			_ = syncDirectory(d.self)
			return Damage{File: to, Err: err}
		case !errors.Is(e, unix.EEXIST):
			return Damage{File: path, Err: errors.Wrapf(err, "%v; it cannot be set aside", e)}
		}
	}
	return Damage{File: path, Err: err}
}

// isOurs tells whether the directory and its lock are still those that were taken: what is written to another one is lost with a
// restart, or is another process's to write.
func (d *Dir) isOurs() error {
	for _, p := range []struct {
		path string
		file *os.File
	}{{d.path, d.self}, {filepath.Join(d.path, lockFile), d.lock}} {
		now, err := os.Lstat(p.path)
		if p.file == d.self && err == nil {
			now, err = os.Stat(p.path) // it may be a link
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Wrapf(err, "state directory %s", d.path)
		}
		was, e := p.file.Stat()
		if e != nil {
			return errors.Wrapf(e, "state directory %s", d.path)
		}
		if err != nil || !os.SameFile(now, was) {
			return errors.Errorf("state directory %s: %s was removed or replaced while this process has it, so nothing is written; move it back, or restart the daemon", d.path, p.path)
		}
	}
	return nil
}

// Put keeps value under name, which is UTF-8, in place of what was there. When it returns nil, the value is on the disk. On an error what was
// there before still is, unless the error says that it is not known.
func (d *Dir) Put(name string, value any) error {
	if !utf8.ValidString(name) {
		return errors.Errorf("%q is not UTF-8", name)
	}
	b, err := encode(name, value)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.isOurs(); err != nil {
		return err
	}
	path, fresh := filepath.Join(d.path, fileName(name)), filepath.Join(d.path, temporary+escape(name))
	if d.newer[fileName(name)] {
		return errors.Wrapf(ErrTooNew, "%s is there, and not read: start that one again, or move the file away and restart this one", path)
	}
	if err := writeFile(fresh, b); err != nil {
		_ = os.Remove(fresh)
		return errors.Wrapf(err, "write to the state directory %s", d.path)
	}
	crashpoint.Reach("definition-written")
	if err := os.Rename(fresh, path); err != nil {
		_ = os.Remove(fresh)
		return errors.Wrapf(err, "write to the state directory %s", d.path)
	}
	crashpoint.Reach("definition-named")
	return errors.Wrapf(syncDirectory(d.self), "write to the state directory %s; whether %q is kept is not known", d.path, name)
}

func writeFile(path string, b []byte) error {
	f, err := openFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Remove forgets what is kept under name. When it returns nil, that is on the disk. Nothing under that name is no error.
func (d *Dir) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.isOurs(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.path, fileName(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Wrapf(err, "write to the state directory %s", d.path)
	}
	crashpoint.Reach("definition-removed")
	return errors.Wrapf(syncDirectory(d.self), "write to the state directory %s; whether %q is forgotten is not known", d.path, name)
}
