package daemon

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/export"
)

// checkCreate finds what is wrong in the size of an image to be made.
func checkCreate(def *export.Definition, size int64) error {
	wrong := func(reason, remedy string) error {
		return &export.OptionError{Option: "create-size", Value: export.FormatSize(size), Reason: reason, Remedy: remedy}
	}
	switch block := int64(def.Device.LogicalBlockSize); {
	case size == 0:
		return nil
	case size < 0:
		return wrong("smaller than nothing", "take a size, or leave it out")
	case def.Disk.File == "":
		return wrong("a store has its own size", "leave it out")
	case size%block != 0:
		return wrong("not a whole number of logical blocks of "+export.FormatSize(block), "take a multiple of that")
	}
	return nil
}

// makeImage makes a sparse file of that size, when there is none of that name, and has it on the disk. undo removes what it has
// made. The file gets its name when it has its size: a kill in between would leave one that is refused for being empty.
func makeImage(path string, size int64) (undo func(), err error) {
	defer func() {
		if err != nil {
			err = &export.HostError{Option: "blk-file", Value: path, Err: errors.Wrapf(err, "make the image %s", path)}
		}
	}()
	if _, err := os.Lstat(path); err == nil {
		return func() {}, nil
	}
	undo = func() { _ = os.Remove(path) }
	err = makeUnnamed(path, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) { // a file system without (NFS, FUSE), or an old one
		err = makeNamed(path, size)
	}
	switch {
	case errors.Is(err, os.ErrExist): // somebody was faster
		return func() {}, nil
	case err != nil:
		return nil, err
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// makeUnnamed makes a file without a name, and links it (open(2), O_TMPFILE).
func makeUnnamed(path string, size int64) error {
	f, err := os.OpenFile(filepath.Dir(path), os.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := setSize(f, size); err != nil {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	return errors.Wrap(err, "link it")
}

func makeNamed(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := setSize(f, size); err != nil {
		_ = os.Remove(path)
		return err
	}
	return nil
}

func setSize(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}
