package virtiotest

import (
	"bytes"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
)

// logPage is the size of the pages that a dirty log has bits for.
const logPage = 4096

// Log is a dirty log as a front-end that migrates its guest shares it: a bit for each page up to the end of the guest's
// memory. Bit p%8 of byte p/8 stands for page p.
type Log struct {
	fd   *sys.FD
	bits []byte
}

// NewLog makes the log of a guest's memory, all zero.
func NewLog(m *Memory) (*Log, error) {
	end := uint64(0)
	for _, r := range m.regions {
		end = max(end, uint64(r.info.GPA)+r.info.Size)
	}
	size := (end/logPage/8 + 8) &^ 7
	fd, err := sys.Memfd("log", int64(size))
	if err != nil {
		return nil, err
	}
	bits, err := unix.Mmap(fd.Int(), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = fd.Close()
		return nil, errors.Wrap(err, "map a log")
	}
	return &Log{fd: fd, bits: bits}, nil
}

// Close unmaps the log and closes its descriptor.
func (l *Log) Close() error {
	err := unix.Munmap(l.bits)
	if e := l.fd.Close(); err == nil {
		err = e
	}
	return err
}

// FD returns the descriptor, which stays the log's.
func (l *Log) FD() int { return l.fd.Int() }

// Size is how many bytes the log has.
func (l *Log) Size() uint64 { return uint64(len(l.bits)) }

// Map maps the log a second time, as a back-end does. The caller closes it.
func (l *Log) Map() (*guestmem.DirtyLog, error) { return guestmem.MapLog(l.FD(), 0, l.Size()) }

// Take returns the pages that were marked since the last time, and clears them, bit for bit without losing one.
func (l *Log) Take() Pages {
	p := make(Pages)
	base := addressOf(l.bits)
	for i := uint64(0); i < l.Size(); i += 4 {
		word := take32(base + i)
		for bit := range uint64(32) {
			if word>>bit&1 != 0 {
				p[(8*i+bit)*logPage] = true
			}
		}
	}
	return p
}

// Pages is a set of pages, by guest-physical address.
type Pages map[uint64]bool

// Has tells whether the page of gpa is in the set.
func (p Pages) Has(gpa guestmem.GPA) bool { return p[uint64(gpa)&^(logPage-1)] }

// Snapshot copies n bytes of guest memory from gpa on, for Unmarked.
func (m *Memory) Snapshot(gpa guestmem.GPA, n int) []byte {
	b := make([]byte, n)
	m.Read(gpa, b)
	return b
}

// Unmarked returns the first byte that differs between two snapshots from gpa on although its page is not marked, and
// that is in none of the areas left out, which are the driver's.
func (p Pages) Unmarked(gpa guestmem.GPA, before, after []byte, except ...Area) (at guestmem.GPA, found bool) {
	for from := 0; from < len(before); {
		to := min(len(before), from+logPage-int(uint64(gpa)+uint64(from))%logPage)
		if !p.Has(gpa+guestmem.GPA(from)) && !bytes.Equal(before[from:to], after[from:to]) {
			for i := from; i < to; i++ {
				if at := gpa + guestmem.GPA(i); before[i] != after[i] && !within(at, except) {
					return at, true
				}
			}
		}
		from = to
	}
	return 0, false
}

func within(at guestmem.GPA, areas []Area) bool {
	for _, a := range areas {
		if uint64(at-a.GPA) < uint64(a.Len) {
			return true
		}
	}
	return false
}

// LogAddress is what SET_VRING_ADDR calls log: where the guest sees the used ring or the device event suppression.
func (d *Driver) LogAddress() guestmem.GPA { return d.device }

// DriverArea is the part of the rings that only the driver writes.
func (d *Driver) DriverArea() Area { return Area{GPA: d.driver, Len: uint32(d.sizes()[1])} }
