package blk

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/iouring"
)

// Alignments to assume where the kernel does not tell (statx's DIOALIGN came with Linux 6.1) and probing found none.
const (
	defaultMemAlign = 512
	maxProbeAlign   = 4096
)

// describe finds out what an opened image is able to do.
func describe(fd int, path string, o FileOptions) (DiskInfo, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return DiskInfo{}, errors.Wrapf(err, "examine %s", path)
	}
	info := DiskInfo{
		Name: path, ReadOnly: o.ReadOnly, VolatileCache: true,
		OffsetAlign: 1, MemAlign: 1,
		Block: st.Mode&unix.S_IFMT == unix.S_IFBLK,
	}
	var err error
	if info.Block {
		err = describeDevice(fd, st, &info)
	} else {
		info.Size = st.Size
		info.NoDsync = onFileSystem(fd, unix.FUSE_SUPER_MAGIC)
		info.InMemory = onFileSystem(fd, unix.TMPFS_MAGIC)
		info.DiscardGranularity = fileDiscard(fd, st, o.ReadOnly)
	}
	if err == nil && !o.Buffered {
		err = describeDirect(fd, &info)
	}
	if n, e := strconv.ParseUint(queueAttr(queueDir(st.Rdev), "logical_block_size"), 10, 32); info.Block && o.Buffered && e == nil {
		info.OffsetAlign = uint32(n) // the page cache takes any bytes, fallocate does not
	}
	if err != nil {
		return info, errors.Wrapf(err, "examine %s", path)
	}
	switch unit := int64(max(info.OffsetAlign, SectorSize)); {
	case info.Size == 0:
		return info, errors.Errorf("%s is empty: give it a size with 'truncate -s SIZE %s'", path, path)
	case info.Size%unit != 0:
		return info, errors.Errorf("%s has %d bytes, which is not a whole number of %d-byte units of its storage: grow it to %d bytes with 'truncate -s %d %s'",
			path, info.Size, unit, roundUp(info.Size, unit), roundUp(info.Size, unit), path)
	}
	return info, nil
}

// describeDirect asks for the alignment of direct I/O, or tries it out.
func describeDirect(fd int, info *DiskInfo) error {
	var sx unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &sx)
	if err == nil && sx.Mask&unix.STATX_DIOALIGN != 0 {
		if sx.Dio_offset_align == 0 || sx.Dio_mem_align == 0 {
			return errors.New("its file system serves direct I/O through the page cache: move the image, or accept that with --direct=off")
		}
		info.OffsetAlign, info.MemAlign = sx.Dio_offset_align, sx.Dio_mem_align
		return nil
	}
	info.MemAlign = defaultMemAlign
	info.OffsetAlign, err = probeAlign(fd)
	return err
}

// probeAlign finds the smallest length and offset that a direct read accepts.
func probeAlign(fd int) (uint32, error) {
	arena, err := iouring.NewArena(2 * maxProbeAlign)
	if err != nil {
		return 0, err
	}
	defer func() { _ = arena.Close() }()
	block, err := arena.Alloc(maxProbeAlign, maxProbeAlign)
	if err != nil {
		return 0, err
	}
	for align := SectorSize; align <= maxProbeAlign; align *= 2 {
		_, err = unix.Pread(fd, block.Bytes()[:align], int64(align))
		if err == nil {
			return uint32(align), nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return 0, err
		}
	}
	return 0, errors.Wrapf(err, "no direct read of up to %d bytes is accepted", maxProbeAlign)
}

// onFileSystem tells files on a file system by its magic number (statfs(2)).
func onFileSystem(fd int, magic int64) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == magic
}

// fileDiscard tells in which unit holes can be punched into a file: tried beyond its end, where nothing changes.
func fileDiscard(fd int, st unix.Stat_t, readOnly bool) uint32 {
	if readOnly {
		return 0
	}
	at := roundUp(st.Size, int64(st.Blksize))
	if unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, int64(st.Blksize)) != nil {
		return 0
	}
	return uint32(st.Blksize)
}

// describeDevice reads what Linux says of a block device (Documentation/ABI/stable/sysfs-block).
func describeDevice(fd int, st unix.Stat_t, info *DiskInfo) error {
	size, err := unix.Seek(fd, 0, io.SeekEnd) // a block device answers with its size
	if err != nil {
		return errors.Wrap(err, "ask for the device's size")
	}
	info.Size = size
	queue := queueDir(st.Rdev)
	info.VolatileCache = queueAttr(queue, "write_cache") != "write through"
	if n, err := strconv.ParseUint(queueAttr(queue, "discard_max_bytes"), 10, 64); err == nil && n > 0 && !info.ReadOnly {
		g, err := strconv.ParseUint(queueAttr(queue, "discard_granularity"), 10, 32)
		if err != nil || g == 0 {
			g = SectorSize
		}
		info.DiscardGranularity = uint32(g)
	}
	return nil
}

// queueDir is the directory of a device's queue attributes; a partition has its whole disk's.
func queueDir(rdev uint64) string {
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return dir + "/../queue"
	}
	return dir + "/queue"
}

func queueAttr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

func roundDown(n, unit int64) int64 { return n / unit * unit }
