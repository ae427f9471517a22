package vublk

import (
	"context"
	"path/filepath"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
)

// What a Disk is made of, from package blk, so that a program with a Disk of its own needs this package only.
type (
	// Disk is anything that can be served: a FuncDisk, a file from OpenFile, or another kind that package blk knows.
	Disk = blk.Disk
	// FuncDisk is a Disk of plain Go.
	FuncDisk = blk.FuncDisk
	// DiskInfo describes a Disk. Name and Size are enough.
	DiskInfo = blk.DiskInfo
	// FileOptions say how OpenFile opens an image.
	FileOptions = blk.FileOptions
)

// DefaultLockTimeout is how long OpenFile waits for an image that another process has locked. A predecessor that was killed
// keeps it until the kernel has ended its last I/O.
const DefaultLockTimeout = 60 * time.Second

// OpenFile opens a raw image, a regular file or a block device, as a Disk, and locks it against other users in QEMU's
// scheme. It differs from blk.OpenFile in its defaults: a LockTimeout of 0 means DefaultLockTimeout, a negative one not at
// all, and Identity is the absolute path. Errors name the path and the way out; a *blk.LockedError names the other user.
func OpenFile(ctx context.Context, path string, o FileOptions) (*blk.FileDisk, error) {
	if o.LockTimeout == 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Identity == "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, errors.Wrapf(err, "open %s", path)
		}
		o.Identity = abs
	}
	return blk.OpenFile(ctx, path, o)
}
