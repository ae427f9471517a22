package blk

import (
	"io"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Changed says in what way the image is not any more what OpenFile opened and Info describes: while its locks were not
// ours somebody may have put another file at its path, or resized it. Nil: it is the same. Call it with the locks held.
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
	size, err := unix.Seek(d.fd.Int(), 0, io.SeekEnd) // a block device's fstat(2) does not tell
	if err != nil {
		return errors.Wrapf(err, "ask for the size of %s", d.info.Name)
	}
	if size != d.info.Size {
		return errors.Errorf("%s has %d bytes now, %d when it was opened: restart vublk to serve it with its new size", d.info.Name, size, d.info.Size)
	}
	return nil
}
