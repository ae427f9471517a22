package main

import (
	"context"
	"os"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Work between two looks at progress and signals.
const (
	allocateStep = 256 << 20
	zeroStep     = 4 << 20
)

// allocate takes the room for size bytes: by fallocate(2), and where the file system has none by writing zeroes.
func allocate(ctx context.Context, f *os.File, size int64, p progress) error {
	p.begin(size)
	defer p.end()
	err := steps(ctx, size, allocateStep, p, func(off, n int64) error {
		for {
			if err := unix.Fallocate(int(f.Fd()), 0, off, n); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = writeZeroes(ctx, f, size, p)
	}
	return errors.Wrap(err, "preallocate the image")
}

func writeZeroes(ctx context.Context, f *os.File, size int64, p progress) error {
	zeroes := make([]byte, zeroStep)
	return steps(ctx, size, zeroStep, p, func(off, n int64) error {
		_, err := f.WriteAt(zeroes[:n], off)
		return err
	})
}

// steps does work on size bytes piece by piece, until ctx ends.
func steps(ctx context.Context, size, step int64, p progress, work func(off, n int64) error) error {
	for off := int64(0); off < size; off += step {
		if err := interrupted(ctx); err != nil {
			return err
		}
		n := min(step, size-off)
		if err := work(off, n); err != nil {
			return err
		}
		p.add(n)
	}
	return nil
}
