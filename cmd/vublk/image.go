package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli"
	"github.com/vublk/vublk/internal/export"
)

// newImage is an image to be made.
type newImage struct {
	path        string
	size        int64
	preallocate bool
	force       bool
	progress    progress
}

// make writes the image beside its place, brings it to stable storage, and moves it there. On an error nothing is left.
func (i *newImage) make(ctx context.Context) error {
	mode, err := i.checkPlace()
	if err != nil {
		return cli.Usage(err)
	}
	if err := i.checkRoom(); err != nil {
		return cli.Usage(err)
	}
	f, err := os.CreateTemp(filepath.Dir(i.path), "."+filepath.Base(i.path)+".*.part")
	if err != nil {
		return cli.Usage(errors.Wrap(err, "create the image"))
	}
	err = i.fill(ctx, f, mode)
	if closeErr := f.Close(); err == nil {
		err = errors.Wrap(closeErr, "close the image")
	}
	if err == nil {
		err = i.publish(f.Name())
	}
	if err != nil {
		_ = os.Remove(f.Name()) // gone already when it was published
		return err
	}
	return syncDir(filepath.Dir(i.path))
}

// checkPlace finds out whether there may be a new image at path, and with which mode. A symbolic link is followed.
func (i *newImage) checkPlace() (os.FileMode, error) {
	const ownerOnly = 0o600
	if target, err := filepath.EvalSymlinks(i.path); err == nil {
		i.path = target
	}
	st, err := os.Lstat(i.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ownerOnly, nil
	case err != nil:
		return 0, errors.Wrap(err, "look for the image")
	case !st.Mode().IsRegular():
		return 0, errors.Errorf("%s exists and is not a regular file; choose another name", i.path)
	case !i.force:
		return 0, errors.Errorf("%s exists; choose another name, or replace it and lose its data with --force", i.path)
	}
	return st.Mode().Perm(), checkUnused(i.path)
}

// checkUnused makes sure that nobody serves the image at path: QEMU, its tools and vublk lock what they use.
func checkUnused(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return errors.Wrap(err, "see whether the image is in use")
	}
	defer func() { _ = f.Close() }()
	l := unix.Flock_t{Type: unix.F_WRLCK} // Len 0: to the end, however far that is
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return errors.Wrap(err, "see whether the image is in use")
	}
	if l.Type != unix.F_UNLCK {
		return errors.Errorf("%s is in use by another process; stop it, or choose another name", path)
	}
	return nil
}

// checkRoom makes sure before hours of work that the room for preallocation is there.
func (i *newImage) checkRoom() error {
	if !i.preallocate {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(i.path), &st); err != nil {
		return errors.Wrapf(err, "ask for the free space of %s", filepath.Dir(i.path))
	}
	// In whole blocks, so that nothing overflows.
	block := max(st.Bsize, 1)
	if free := st.Bavail; uint64((i.size+block-1)/block) > free {
		return errors.Errorf("%s does not fit: its file system has %d MiB free; choose a smaller size, or leave out --preallocate",
			export.FormatSize(i.size), free*uint64(block)>>20)
	}
	return nil
}

// fill gives the file its size, its blocks and its mode.
func (i *newImage) fill(ctx context.Context, f *os.File, mode os.FileMode) error {
	if err := f.Chmod(mode); err != nil {
		return errors.Wrap(err, "set the image's mode")
	}
	switch err := f.Truncate(i.size); {
	case errors.Is(err, unix.EFBIG):
		return cli.Usagef("the file system has no files of %s; choose a smaller size", export.FormatSize(i.size))
	case err != nil:
		return errors.Wrap(err, "give the image its size")
	}
	if i.preallocate {
		if err := allocate(ctx, f, i.size, i.progress); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return errors.Wrap(err, "bring the image to stable storage")
	}
	return interrupted(ctx)
}

// publish moves the complete file to its name. Without --force it does not replace one that has appeared meanwhile.
func (i *newImage) publish(from string) error {
	if i.force {
		return errors.Wrap(os.Rename(from, i.path), "move the image to its name")
	}
	if err := os.Link(from, i.path); err != nil {
		return errors.Wrap(err, "give the image its name")
	}
	return errors.Wrap(os.Remove(from), "remove the image's temporary name")
}

// syncDir makes the name durable as well.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return errors.Wrap(err, "open the image's directory")
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return errors.Wrap(err, "bring the image's directory to stable storage")
}

// interrupted is the error of a ctx that a signal ended.
func interrupted(ctx context.Context) error {
	if ctx.Err() != nil {
		return errors.Wrap(context.Cause(ctx), "interrupted, nothing was left behind")
	}
	return nil
}
