package driver

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"
)

// Ledger keeps, for each sector, the numbers of its writes: made, completed, promised. No two writes of a sector may be in
// flight at the same time.
type Ledger struct {
	issued []atomic.Uint64 // the last one that was made
	acked  []atomic.Uint64 // the last one that has completed
	zeroed []atomic.Uint64 // the last one that made it zeros

	mu    sync.Mutex
	floor []uint64 // what must be there after a power cut
}

// NewLedger begins with a disk of zeros.
func NewLedger(sectors int) *Ledger {
	return &Ledger{
		issued: make([]atomic.Uint64, sectors), acked: make([]atomic.Uint64, sectors), zeroed: make([]atomic.Uint64, sectors),
		floor: make([]uint64, sectors),
	}
}

// Sectors is how many there are.
func (l *Ledger) Sectors() int { return len(l.issued) }

// Issue makes the data of a write that is about to be made.
func (l *Ledger) Issue(first int, data []byte) {
	for i := 0; i*SectorSize < len(data); i++ {
		Fill(data[i*SectorSize:], uint64(first+i), l.issued[first+i].Add(1))
	}
}

// IssueZeros says that a discard or a write of zeros is about to be made.
func (l *Ledger) IssueZeros(first, n int) {
	for i := first; i < first+n; i++ {
		l.zeroed[i].Store(l.issued[i].Add(1))
	}
}

// Ack says that what was issued last has completed. Not for discards, after which the older content may be read, too.
func (l *Ledger) Ack(first, n int) {
	for i := first; i < first+n; i++ {
		l.acked[i].Store(l.issued[i].Load())
	}
}

// Acked copies the numbers that have completed: what a FLUSH that begins now covers, what a read that begins now must see.
func (l *Ledger) Acked(to []uint64, first, n int) []uint64 {
	to = to[:0]
	for i := first; i < first+n; i++ {
		to = append(to, l.acked[i].Load())
	}
	return to
}

// Issued is the number of the last write of a sector that was made.
func (l *Ledger) Issued(sector int) uint64 { return l.issued[sector].Load() }

// Promise says that a power cut must leave these numbers, or later ones.
func (l *Ledger) Promise(first int, numbers []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range numbers {
		l.floor[first+i] = max(l.floor[first+i], n)
	}
}

// Number returns which write a sector holds: one that was made, and all of it.
func (l *Ledger) Number(sector int, b []byte) (uint64, error) {
	number, err := Number(b[:SectorSize], uint64(sector))
	if err == nil && number > l.Issued(sector) {
		err = errors.Errorf("sector %d holds write %d, which was never made", sector, number)
	}
	return number, err
}

// Kept counts the sectors that do not hold what was promised, and goes on from what there is. Not with zeros issued.
func (l *Ledger) Kept(disk []byte) (lost int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.floor {
		number, err := l.Number(i, disk[i*SectorSize:])
		if err != nil {
			return lost, err
		}
		if number < l.floor[i] {
			lost++
		}
		l.floor[i] = number
		l.acked[i].Store(number)
	}
	return lost, nil
}

// StaleError tells of a sector that holds something older than it must.
type StaleError struct {
	Sector          int
	Sectors         int // how many like this one there are
	Number, AtLeast uint64
	Zeros           bool
}

func (e *StaleError) Error() string {
	what := fmt.Sprintf("write %d", e.Number)
	if e.Zeros {
		what = "zeros"
	}
	return fmt.Sprintf("sector %d holds %s, and must hold write %d at least; %d sectors in all", e.Sector, what, e.AtLeast, e.Sectors)
}

// Check judges what was read. Nothing in it may be older than low, which Acked has returned before the read began. A sector
// that was written meanwhile may be a mixture of what was allowed. Errors are *StaleError, or tell of what nobody wrote.
func (l *Ledger) Check(first int, data []byte, low []uint64) error {
	var stale *StaleError
	for i, atLeast := range low {
		e, err := l.check(first+i, data[i*SectorSize:][:SectorSize], atLeast)
		switch {
		case err != nil:
			return err
		case e != nil && stale == nil:
			stale = e
		}
		if e != nil {
			stale.Sectors++
		}
	}
	if stale != nil {
		return stale
	}
	return nil
}

func (l *Ledger) check(sector int, b []byte, atLeast uint64) (*StaleError, error) {
	for i := 0; i < SectorSize; i += markSize {
		name, number := binary.LittleEndian.Uint64(b[i:]), binary.LittleEndian.Uint64(b[i+8:])
		zeros := name == 0 && number == 0
		switch {
		case !zeros && (name != uint64(sector)+1 || number == 0 || number > l.Issued(sector)):
			return nil, errors.Errorf("sector %d holds at byte %d what was never written: % x", sector, i, b[i:i+markSize])
		case zeros && l.zeroed[sector].Load() < atLeast, !zeros && number < atLeast:
			return &StaleError{Sector: sector, Number: number, AtLeast: atLeast, Zeros: zeros}, nil
		}
	}
	return nil, nil
}
