package blk

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// The bytes of a file on which QEMU, its tools and vublk keep each other out (block/file-posix.c of QEMU). Each held
// byte is an OFD *read* lock: 100+i says "I use permission i", 200+i "I do not share permission i".
const (
	lockUse     = 100
	lockUnshare = 200

	permConsistentRead = 0
	permWrite          = 1
	permResize         = 3
)

// lockPrivate is where the bytes begin that only vublk knows: one for each identity of an export. A successor waits for
// its predecessor's byte, because the kernel keeps an OFD lock until the last I/O of a killed process has ended.
const lockPrivate = 1 << 62

// A lock that somebody holds is tried again after firstLockRetry, then after twice the pause before, up to lockRetry: the
// I/O of a process that was killed mostly ends within milliseconds, and a guest waits for it.
const (
	firstLockRetry = time.Millisecond
	lockRetry      = 100 * time.Millisecond
)

// lockSaid is for how long a lock is waited for in silence.
const lockSaid = 100 * time.Millisecond

// LockedError says that somebody else holds an image.
type LockedError struct {
	Path   string
	Holder string // "qemu-system-x86 (pid 4711)", or why there is none to name
	Waited time.Duration
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is locked by %s; waited %v (see --lock-timeout)", e.Path, e.Holder, e.Waited.Round(lockRetry))
}

// lockPlan is the set of bytes that one user of an image holds, and of those that nobody else may hold.
type lockPlan struct {
	hold  []int64
	probe []int64
}

func planLock(readOnly bool, identity string) lockPlan {
	h := fnv.New32a()
	_, _ = io.WriteString(h, identity)
	private := lockPrivate + int64(h.Sum32())
	p := lockPlan{
		hold:  []int64{lockUse + permConsistentRead, lockUnshare + permWrite, lockUnshare + permResize, private},
		probe: []int64{lockUnshare + permConsistentRead, lockUse + permWrite, lockUse + permResize, private},
	}
	if !readOnly {
		p.hold = append(p.hold, lockUse+permWrite)
		p.probe = append(p.probe, lockUnshare+permWrite)
	}
	return p
}

// awaitLock takes the locks, on the description that the I/O goes through; it waits for another holder until the timeout
// or the end of ctx. A *LockedError names the holder.
func (d *FileDisk) awaitLock(ctx context.Context) error {
	start, path, timeout := time.Now(), d.info.Name, d.opt.LockTimeout
	pause := firstLockRetry
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for said := false; ; {
		free, err := d.tryLock()
		if err != nil {
			return errors.Wrapf(err, "lock %s", path)
		}
		if free {
			return nil
		}
		waited := time.Since(start)
		if !said && waited >= lockSaid {
			d.opt.Log.Info("waiting for the image's lock", "file", path, "holder", d.holder(), "timeout", timeout)
			said = true
		}
		if waited >= timeout {
			return &LockedError{Path: path, Holder: d.holder(), Waited: waited}
		}
		select {
		case <-ctx.Done():
			return errors.Wrapf(ctx.Err(), "wait for the lock of %s, held by %s", path, d.holder())
		case <-timer.C:
			pause = min(2*pause, lockRetry)
			timer.Reset(pause)
		}
	}
}

// try takes all bytes or none. Two that try at once may both fail, never both succeed.
func (p lockPlan) try(fd int) (bool, error) {
	for _, at := range p.hold {
		if err := ofdLock(fd, unix.F_RDLCK, at); err != nil {
			p.unlock(fd)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
				return false, nil
			}
			return false, err
		}
	}
	for _, at := range p.probe {
		l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
		if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &l); err != nil {
			p.unlock(fd)
			return false, err
		}
		if l.Type != unix.F_UNLCK {
			p.unlock(fd)
			return false, nil
		}
	}
	return true, nil
}

func (p lockPlan) unlock(fd int) {
	for _, at := range p.hold {
		_ = ofdLock(fd, unix.F_UNLCK, at) // unlocking what is not locked succeeds; closing fd unlocks for certain
	}
}

func ofdLock(fd int, kind int16, at int64) error {
	l := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1}
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &l)
}
