package replay

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"

	"github.com/pkg/errors"
)

// The format of a log, all little-endian: a superblock of one sector, then entries that each begin a sector
// (drivers/md/dm-log-writes.c of Linux 6.12; block/blklogwrites.c of QEMU 7.2).
const (
	logMagic   = 0x6a736677736872 // "log-writes" to its authors
	logVersion = 1

	superSize   = 28 // magic, version, nr_entries: u64; sectorsize: u32
	entryHeader = 32 // sector, nr_sectors, flags, data_len: u64

	maxSector = 1 << 16
	maxData   = 1 << 28 // of one entry
)

// entryFlags says what an entry stands for.
type entryFlags uint64

const (
	flagFlush   entryFlags = 1 << iota // LOG_FLUSH_FLAG: what was written before is stable
	flagFUA                            // LOG_FUA_FLAG: this write is stable
	flagDiscard                        // LOG_DISCARD_FLAG: no data follows
	flagMark                           // LOG_MARK_FLAG: data_len bytes of text in the entry's own sector
)

// entry is one operation on the disk.
type entry struct {
	index  uint64 // the first is 1
	flags  entryFlags
	offset int64 // bytes
	length int64 // bytes
	data   []byte
}

// super is a log's superblock.
type super struct {
	entries uint64
	sector  int64
}

// readSuper reads the superblock. A log to which nothing was flushed has none: no entries.
func readSuper(r io.ReaderAt) (super, error) {
	b := make([]byte, superSize)
	if n, err := r.ReadAt(b, 0); err != nil && (n > 0 || !errors.Is(err, io.EOF)) {
		return super{}, errors.Wrap(err, "superblock of the log")
	}
	magic, version := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	s := super{entries: binary.LittleEndian.Uint64(b[16:]), sector: int64(binary.LittleEndian.Uint32(b[24:]))}
	switch {
	case magic == 0 && version == 0:
		return super{}, nil
	case magic != logMagic || version != logVersion:
		return super{}, errors.Errorf("log of magic %#x, version %d", magic, version)
	case s.sector < entryHeader || s.sector > maxSector || s.sector&(s.sector-1) != 0:
		return super{}, errors.Errorf("log of sectors of %d bytes", s.sector)
	}
	return s, nil
}

// logReader reads the entries that the superblock counts, one after the other.
type logReader struct {
	super
	r    *bufio.Reader
	next uint64
}

func newLogReader(f *os.File) (*logReader, error) {
	s, err := readSuper(f)
	if err != nil {
		return nil, err
	}
	body := io.NewSectionReader(f, s.sector, 1<<62)
	return &logReader{super: s, r: bufio.NewReaderSize(body, 1<<20)}, nil
}

// read returns the next entry. False: there is none.
func (l *logReader) read() (entry, bool, error) {
	if l.next == l.entries {
		return entry{}, false, nil
	}
	l.next++
	b := make([]byte, l.sector)
	if _, err := io.ReadFull(l.r, b); err != nil {
		return entry{}, false, errors.Wrapf(err, "entry %d of %d", l.next, l.entries)
	}
	first, count := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	e := entry{index: l.next, flags: entryFlags(binary.LittleEndian.Uint64(b[16:]))}
	if e.flags&^(flagFlush|flagFUA|flagDiscard|flagMark) != 0 {
		return e, false, errors.Errorf("entry %d has flags %#x", l.next, uint64(e.flags))
	}
	if first > 1<<50 || count > 1<<50 {
		return e, false, errors.Errorf("entry %d: sectors %d+%d", l.next, first, count)
	}
	e.offset, e.length = int64(first)*l.sector, int64(count)*l.sector
	if e.flags&(flagDiscard|flagMark) != 0 || count == 0 {
		return e, true, nil
	}
	if e.length > maxData {
		return e, false, errors.Errorf("entry %d has %d bytes of data", l.next, e.length)
	}
	e.data = make([]byte, e.length)
	_, err := io.ReadFull(l.r, e.data)
	return e, true, errors.Wrapf(err, "data of entry %d of %d", l.next, l.entries)
}
