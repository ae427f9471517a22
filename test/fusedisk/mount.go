package fusedisk

import (
	"fmt"
	"io"
	"log"
	"path/filepath"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

const (
	maxRequest    = 1 << 20
	unmountTime   = time.Minute
	maxBackground = 64 // asynchronous requests that the kernel sends at once
)

// mount is a file system that is mounted and served.
type mount struct {
	dir    string
	served chan struct{} // closed when nothing is any more
}

// Options are for New.
type Options struct {
	// AsyncDirect lets the kernel send direct I/O without waiting for it, as most FUSE servers do. A loop device on the
	// file needs it to do more than one request at a time. But then the kernel (6.18) has no fsync follow a write that is
	// marked O_DSYNC, and leaves it to the server, this one, which does nothing.
	AsyncDirect bool
}

// New mounts a Disk of so many bytes, all zero, on an empty directory. The caller closes it.
func New(dir string, size int64, o Options) (*Disk, error) {
	d := &Disk{size: size, cache: newCache(size)}
	n, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrap(err, "/dev/fuse: the kernel needs FUSE, and this process root")
	}
	fd := sys.NewFD(n)
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d", n, unix.Geteuid(), unix.Getegid(), maxRequest)
	if err := unix.Mount("fusedisk", dir, "fuse.fusedisk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = fd.Close()
		return nil, errors.Wrap(err, "mount a FUSE file system; this needs root")
	}
	d.mount = &mount{dir: dir, served: make(chan struct{})}
	var capabilities uint64
	if o.AsyncDirect {
		capabilities = fuse.CAP_ASYNC_DIO
	}
	// A mount that is there already is handed over by this name.
	server, err := fuse.NewServer(&files{fuse.NewDefaultRawFileSystem(), d}, fmt.Sprintf("/dev/fd/%d", fd.Disown()), &fuse.MountOptions{
		MaxWrite: maxRequest, MaxBackground: maxBackground, DisableXAttrs: true, Logger: log.New(io.Discard, "", 0),
		ExtraCapabilities: capabilities,
		DisableSplice:     true, // its pipes would stay for the life of the process
	})
	if err != nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		return nil, errors.Wrap(err, "serve a FUSE file system")
	}
	go func() {
		defer close(d.mount.served)
		server.Serve()
	}()
	return d, nil
}

// Path is the file.
func (d *Disk) Path() string { return filepath.Join(d.mount.dir, fileName) }

// Close releases what is held and unmounts. When somebody still has the file open it fails, and the file system is gone
// when that one has closed it.
func (d *Disk) Close() error {
	d.mu.Lock()
	fsync, write := d.fsync, d.write
	d.fsync, d.write = nil, nil
	d.mu.Unlock()
	fsync.Release()
	write.Release()
	err := d.mount.unmount()
	if err != nil {
		_ = unix.Unmount(d.mount.dir, unix.MNT_DETACH|unix.MNT_FORCE)
	}
	select {
	case <-d.mount.served:
	case <-time.After(unmountTime):
		if err == nil {
			err = errors.New("the file system is unmounted, and its server does not end")
		}
	}
	return err
}

// unmount waits for the last user, whose end the kernel may still be busy with.
func (m *mount) unmount() error {
	for deadline := time.Now().Add(unmountTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Unmount(m.dir, 0)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return errors.Wrapf(err, "unmount %s", m.dir)
		}
	}
}
