package blk

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// FileOptions say how OpenFile opens an image.
type FileOptions struct {
	ReadOnly bool
	// Buffered goes through the host's page cache instead of O_DIRECT: for file systems that have no direct I/O.
	Buffered bool
	// Identity is what a restarted export is recognized by, and waits for its predecessor's last I/O by.
	// Default: the path.
	Identity string
	// LockTimeout is how long to wait for another user of the image; 0: not at all.
	LockTimeout time.Duration
	// Unlocked leaves the locks to a later call of Lock: a migration's destination.
	Unlocked bool
	// Adopt takes the description Image, with the locks on it, and the claim Claim (-1: none) from a process that hands the
	// image over alive, see FileDisk.Descriptors. OpenFile owns both.
	Adopt        bool
	Image, Claim int
	Log          *slog.Logger
}

// FileDisk is a raw image: a regular file or a block device.
type FileDisk struct {
	fd   *sys.FD
	info DiskInfo     // its Size apart
	size atomic.Int64 // bytes, when it was measured last
	opt  FileOptions
	plan lockPlan
	excl *sys.FD // a block device that is locked: its exclusive claim
	busy bool    // the last attempt failed at that claim, not at a lock

	locked atomic.Bool
}

// OpenFile opens a regular file or a block device for direct I/O, locks it against other users in QEMU's scheme, and
// writes back and drops what the host has cached of it. Errors name the path and the way out; a *LockedError names the
// other user.
func OpenFile(ctx context.Context, path string, o FileOptions) (*FileDisk, error) {
	if o.Identity == "" {
		o.Identity = path
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fd, st, err := adoptImage(path, o)
	if fd == nil && err == nil {
		err = blocking(func() (err error) { fd, st, err = openImage(path, o); return err })
	}
	if err != nil {
		return nil, err
	}
	d := &FileDisk{fd: fd, opt: o, plan: planLock(o.ReadOnly, o.Identity)}
	d.info = DiskInfo{Name: path, ReadOnly: o.ReadOnly, Block: st.Mode&unix.S_IFMT == unix.S_IFBLK}
	d.locked.Store(o.Adopt)
	if o.Adopt && o.Claim >= 0 {
		d.excl = sys.NewFD(o.Claim)
	}
	// The lock comes first: what describe tries out waits inside the kernel, deaf to signals, for direct I/O that another
	// user or a dead predecessor has in flight.
	if !o.Unlocked && !o.Adopt {
		err = d.Lock(ctx)
	}
	if err == nil {
		err = blocking(func() (err error) { d.info, err = describe(fd.Int(), path, o); return err })
		d.size.Store(d.info.Size)
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// Lock takes the image's locks and makes the host forget what it cached of the image before. It waits for another user until
// FileOptions.LockTimeout, then a *LockedError names it, or the end of ctx.
func (d *FileDisk) Lock(ctx context.Context) error {
	if err := d.awaitLock(ctx); err != nil {
		return err
	}
	if err := blocking(d.dropCache); err != nil {
		d.Unlock()
		return err
	}
	d.locked.Store(true)
	return nil
}

// Locked tells whether the image's locks are ours: since OpenFile or Lock, until Unlock. Any goroutine may ask.
func (d *FileDisk) Locked() bool { return d.locked.Load() }

// Unlock gives the image to others. No I/O may follow before Lock.
func (d *FileDisk) Unlock() {
	d.locked.Store(false)
	_ = d.excl.Close()
	d.plan.unlock(d.fd.Int())
}

// tryLock takes the locks if nobody else has the image. OFD locks guard one node of a block device; its exclusive claim
// (open(2), O_EXCL) guards the device, against mounted file systems too.
func (d *FileDisk) tryLock() (bool, error) {
	d.busy = false
	free, err := d.plan.try(d.fd.Int())
	if err != nil || !free || !d.info.Block || d.info.ReadOnly {
		return free, err
	}
	n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", d.fd.Int()), unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err == nil {
		d.excl = sys.NewFD(n)
		return true, nil
	}
	d.plan.unlock(d.fd.Int())
	if errors.Is(err, unix.EBUSY) {
		d.busy = true
		return false, nil
	}
	return false, err
}

// dropCache writes back and forgets cached pages: another description, or a loop device's own cache, may hold data that
// is newer than the medium now and older than the guest's later.
func (d *FileDisk) dropCache() error {
	fd := d.fd.Int()
	if !d.info.ReadOnly {
		if err := unix.Fdatasync(fd); err != nil {
			return errors.Wrapf(err, "write back what is cached of %s", d.info.Name)
		}
	}
	if d.info.Block {
		if _, err := unix.IoctlRetInt(fd, unix.BLKFLSBUF); err != nil {
			d.opt.Log.Debug("the host's cache of the device was not dropped", "file", d.info.Name, "error", err)
		}
		return nil
	}
	return errors.Wrapf(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED), "drop what is cached of %s", d.info.Name)
}

// holder describes who has the image.
func (d *FileDisk) holder() string {
	if who := lockHolder(d.fd.Int()); who != "" {
		return who
	}
	if d.busy {
		return "a mounted file system, or a program that has the device for itself (try 'findmnt -S DEVICE' and 'lsof DEVICE')"
	}
	return "nobody that can be seen: I/O of a process that died may still be on its way to the disk, or the holder belongs to another user or container"
}

// Info implements Disk.
func (d *FileDisk) Info() DiskInfo {
	info := d.info
	info.Size = d.size.Load()
	return info
}

// Descriptors returns the description that the I/O goes through, with the locks on it, and the exclusive claim on a block
// device, -1: there is none. They stay the disk's; a duplicate of the first keeps the locks.
func (d *FileDisk) Descriptors() (image, claim int) { return d.fd.Int(), d.excl.Int() }

// FD implements RingDisk.
func (d *FileDisk) FD() int { return d.fd.Int() }

// Close implements Disk; it releases the locks.
func (d *FileDisk) Close() error {
	_ = d.excl.Close()
	return d.fd.Close()
}

// adoptImage takes the description that another process had, if there is one. Its flags must be what we would have opened it
// with.
func adoptImage(path string, o FileOptions) (*sys.FD, unix.Stat_t, error) {
	var st unix.Stat_t
	if !o.Adopt {
		return nil, st, nil
	}
	fd := sys.NewFD(o.Image)
	flags, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_GETFL, 0)
	if err == nil {
		err = unix.Fstat(fd.Int(), &st)
	}
	const matter = unix.O_ACCMODE | unix.O_DIRECT
	if err == nil && flags&matter != openFlags(o)&matter {
		err = errors.New("the process before has opened it with other --read-only or --direct options: use the same")
	}
	if err != nil {
		_ = fd.Close()
		if o.Claim >= 0 {
			_ = unix.Close(o.Claim)
		}
		return nil, st, errors.Wrapf(err, "take over %s", path)
	}
	return fd, st, nil
}

func openFlags(o FileOptions) int {
	flags := unix.O_CLOEXEC | unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_CLOEXEC | unix.O_RDONLY
	}
	if !o.Buffered {
		flags |= unix.O_DIRECT
	}
	return flags
}

// openImage opens path and says what is wrong with it in words that name the way out.
func openImage(path string, o FileOptions) (*sys.FD, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, st, openError(path, err, o)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
	case unix.S_IFDIR:
		return nil, st, errors.Errorf("%s is a directory: --blk-file takes a raw image or a block device", path)
	default:
		return nil, st, errors.Errorf("%s is neither a regular file nor a block device", path)
	}
	n, err := unix.Open(path, openFlags(o), 0)
	if err != nil {
		return nil, st, openError(path, err, o)
	}
	fd := sys.NewFD(n)
	// What was opened counts, not what the path named a moment ago.
	if err := unix.Fstat(n, &st); err != nil {
		_ = fd.Close()
		return nil, st, errors.Wrapf(err, "examine %s", path)
	}
	return fd, st, nil
}

func openError(path string, err error, o FileOptions) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return errors.Errorf("%s does not exist: make an image with 'vublk create %s SIZE'", path, path)
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return errors.Wrapf(err, "open %s: check its owner and mode%s", path, readOnlyHint(o))
	case errors.Is(err, unix.EROFS):
		return errors.Wrapf(err, "open %s for writing%s", path, readOnlyHint(o))
	case errors.Is(err, unix.EINVAL) && !o.Buffered:
		return errors.Errorf("open %s: its file system has no direct I/O (O_DIRECT): move the image, or accept the host's page cache with --direct=off", path)
	}
	return errors.Wrapf(err, "open %s", path)
}

func readOnlyHint(o FileOptions) string {
	if o.ReadOnly {
		return ""
	}
	return ", or serve it with --read-only"
}
