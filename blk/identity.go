package blk

import (
	"io"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Changed says in what way the image is not any more the one that OpenFile opened: somebody may have put another file at
// its path. Nil: it is the same one. While the locks are not ours the answer is old when it arrives.
func (d *FileDisk) Changed() error {
	var opened, now unix.Stat_t
	if err := unix.Fstat(d.fd.Int(), &opened); err != nil {
		return errors.Wrapf(err, "examine %s", d.info.Name)
	}
	if err := unix.Stat(d.info.Name, &now); err != nil {
		return errors.Wrapf(err, "look whether %s is still the image that was opened; restart vublk when it is in its place", d.info.Name)
	}
	same := opened.Dev == now.Dev && opened.Ino == now.Ino
	if d.info.Block { // another node of the same device is the same image
		same = now.Mode&unix.S_IFMT == unix.S_IFBLK && opened.Rdev == now.Rdev
	}
	if !same {
		return errors.Errorf("%s is not the image any more that was opened, another has taken its place: restart vublk to serve that one", d.info.Name)
	}
	return nil
}

// Measure asks for the size of the image again, in bytes, and has Info report it. A device on it takes it over by
// Device.Resize. Any goroutine may call it before Close.
func (d *FileDisk) Measure() (int64, error) {
	size, err := unix.Seek(d.fd.Int(), 0, io.SeekEnd) // a block device's fstat(2) does not tell
	if err != nil {
		return 0, errors.Wrapf(err, "ask for the size of %s", d.info.Name)
	}
	d.size.Store(size)
	return size, nil
}

// Truncate makes the image that many bytes long and returns how many it had. It refuses a device, a read-only image, one whose
// locks are not ours, and without shrink a smaller size. The caller measures afterwards.
func (d *FileDisk) Truncate(size int64, shrink bool) (had int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd.Int(), &st); err != nil {
		return 0, errors.Wrapf(err, "examine %s", d.info.Name)
	}
	had = st.Size
	switch {
	case d.info.Block:
		return had, errors.Errorf("%s is a block device: give it its size where it is made (lvextend, the storage array), then have it looked at without a size", d.info.Name)
	case d.info.ReadOnly:
		return had, errors.Errorf("%s is served read-only: change its size where it is written", d.info.Name)
	case !d.Locked():
		return had, errors.Errorf("%s belongs to another process at the moment: wait until its lock is ours", d.info.Name)
	case size < had && !shrink:
		return had, errors.Errorf("%s has %d bytes, more than %d: what lies beyond would be lost; say that it is to shrink if that is meant", d.info.Name, had, size)
	}
	for {
		if err = unix.Ftruncate(d.fd.Int(), size); !errors.Is(err, unix.EINTR) {
			return had, errors.Wrapf(err, "make %s %d bytes long", d.info.Name, size)
		}
	}
}
