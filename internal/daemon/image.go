package daemon

import (
	"os"
	"path/filepath"

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
// made.
func makeImage(path string, size int64) (undo func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, os.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, errors.Wrap(err, "make the image")
	}
	undo = func() { _ = os.Remove(path) }
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		undo()
		return nil, errors.Wrap(err, "make the image")
	}
	return undo, nil
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}
