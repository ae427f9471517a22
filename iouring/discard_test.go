package iouring

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// loopDevice attaches a loop device of 1 MiB, which discards by punching holes, and returns its path and its file.
// It needs root.
func loopDevice(t *testing.T) (path string, backing int) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "backing")
	must(t, os.WriteFile(name, make([]byte, 1<<20), 0o600))
	backing, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(backing)) })
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer func() { must(t, unix.Close(control)) }()
	for late := time.Now().Add(patience); ; {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		must(t, err)
		path = fmt.Sprintf("/dev/loop%d", n)
		err = attachLoop(t, path, backing)
		if err == nil {
			return path, backing
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(late) { // EBUSY: somebody else was faster
			t.Fatal(err)
		}
	}
}

// attachLoop attaches; the device detaches itself when the last of its users has closed it, after the test.
func attachLoop(t *testing.T, path string, backing int) error {
	loop, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c := unix.LoopConfig{Fd: uint32(backing), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(loop, &c); err != nil {
		must(t, unix.Close(loop))
		return errors.Wrap(err, path)
	}
	t.Cleanup(func() { must(t, unix.Close(loop)) })
	return nil
}

func TestBlockDiscard(t *testing.T) {
	r := ownRing(t, Options{Entries: 4})
	if !r.Features().Has(FeatureBlockDiscard) {
		t.Fatal("this kernel has no BLOCK_URING_CMD_DISCARD")
	}
	path, backing := loopDevice(t)
	dev, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	must(t, err)
	defer func() { must(t, unix.Close(dev)) }()
	buf, fd := offHeap(t, 1<<20), int32(dev)
	for i := range buf.Bytes() {
		buf.Bytes()[i] = 0xa5
	}
	wantRes(t, "WRITE", do(t, r, func(s *SQE) { s.Write(fd, buf.Addr(), 1<<20, 0) }), 1<<20)
	must(t, unix.Fsync(backing))
	before := blocks(t, int32(backing))
	wantRes(t, "discard", do(t, r, func(s *SQE) { s.BlockDiscard(fd, 1<<16, 1<<19) }), 0)
	if after := blocks(t, int32(backing)); after >= before {
		t.Errorf("%d blocks before, %d after", before, after)
	}
	wantRes(t, "READ", do(t, r, func(s *SQE) { s.Read(fd, buf.Addr(), 1<<20, 0) }), 1<<20)
	for i, c := range buf.Bytes() {
		if gone := i >= 1<<16 && i < 1<<16+1<<19; gone != (c == 0) {
			t.Fatalf("byte %d is %#x", i, c)
		}
	}
	wantRes(t, "misaligned", do(t, r, func(s *SQE) { s.BlockDiscard(fd, 1, 512) }), failed(unix.EINVAL))
	wantRes(t, "past the end", do(t, r, func(s *SQE) { s.BlockDiscard(fd, 1<<20, 512) }), failed(unix.EINVAL))
	plain := file(t, 4096, 0)
	wantRes(t, "a file", do(t, r, func(s *SQE) { s.BlockDiscard(plain, 0, 4096) }), failed(unix.EOPNOTSUPP))
}
