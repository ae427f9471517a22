package driver

import (
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// disk does what a Ledger's writes say.
type disk []byte

func (d disk) write(first int, data []byte) { copy(d[first*SectorSize:], data) }

// written has a Ledger of four sectors, of which the first two have been written twice, and a disk with the first of these
// writes and one with both.
func written() (l *Ledger, before, now disk) {
	l = NewLedger(4)
	data := make([]byte, 2*SectorSize)
	before, now = make(disk, 4*SectorSize), make(disk, 4*SectorSize)
	l.Issue(0, data)
	before.write(0, data)
	l.Ack(0, 2)
	l.Issue(0, data)
	now.write(0, data)
	l.Ack(0, 2)
	return l, before, now
}

// TestCheck: each way in which a disk can be wrong is told from the others.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(l *Ledger, before, now disk) // now
		stale int                               // sectors
		wrong string                            // in the error
	}{
		{name: "right", spoil: func(*Ledger, disk, disk) {}},
		{name: "lost", spoil: func(_ *Ledger, before, now disk) { now.write(0, before[:2*SectorSize]) }, stale: 2},
		{name: "torn", spoil: func(_ *Ledger, before, now disk) { copy(now[SectorSize+64:], before[SectorSize+64:][:32]) }, stale: 1},
		{name: "zeros", spoil: func(_ *Ledger, _, now disk) { clear(now[:SectorSize]) }, stale: 1},
		{name: "misplaced", spoil: func(_ *Ledger, _, now disk) { now.write(1, now[:SectorSize]) }, wrong: "sector 1 holds at byte 0"},
		{name: "never made", spoil: func(_ *Ledger, _, now disk) { Fill(now[SectorSize:], 1, 3) }, wrong: "sector 1 holds at byte 0"},
		{name: "noise", spoil: func(_ *Ledger, _, now disk) { now[700]++ }, wrong: "sector 1 holds at byte 176"},
		{name: "in flight, not there", spoil: func(l *Ledger, _, _ disk) { l.Issue(0, make([]byte, SectorSize)) }},
		{name: "in flight, half there", spoil: func(l *Ledger, _, now disk) {
			data := make([]byte, SectorSize)
			l.Issue(0, data)
			copy(now, data[:80])
		}},
		{name: "zeros in flight", spoil: func(l *Ledger, _, now disk) {
			l.IssueZeros(0, 2)
			clear(now[:SectorSize])
		}},
		{name: "zeroed", spoil: func(l *Ledger, _, now disk) {
			l.IssueZeros(0, 1)
			l.Ack(0, 1)
			clear(now[:SectorSize])
		}},
		{name: "zeros lost", spoil: func(l *Ledger, _, _ disk) {
			l.IssueZeros(0, 1)
			l.Ack(0, 1)
		}, stale: 1},
		{name: "written after zeros, and lost", spoil: func(l *Ledger, _, now disk) {
			l.IssueZeros(0, 1)
			l.Issue(0, make([]byte, SectorSize))
			l.Ack(0, 1)
			clear(now[:SectorSize])
		}, stale: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, before, now := written()
			c.spoil(l, before, now)
			err := l.Check(0, now, l.Acked(nil, 0, 4))
			var stale *StaleError
			switch {
			case c.stale > 0:
				if !errors.As(err, &stale) || stale.Sectors != c.stale {
					t.Errorf("%v: want %d stale sectors", err, c.stale)
				}
			case c.wrong != "":
				if errors.As(err, &stale) || err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%v: want %q", err, c.wrong)
				}
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// TestKept: what was promised must be there, what was only completed need not.
func TestKept(t *testing.T) {
	l, _, now := written()
	l.Promise(0, []uint64{2, 1})
	if lost, err := l.Kept(now); lost != 0 || err != nil {
		t.Errorf("%d lost, %v: want none", lost, err)
	}
	l, before, _ := written()
	l.Promise(0, []uint64{2, 1})
	l.Promise(0, []uint64{1, 1}) // an older one takes nothing back
	if lost, err := l.Kept(before); lost != 1 || err != nil {
		t.Errorf("%d lost, %v: want the first sector", lost, err)
	}
	if lost, err := l.Kept(before); lost != 0 || err != nil {
		t.Errorf("%d lost, %v, when the loss is known already", lost, err)
	}
	before[100]++
	if _, err := l.Kept(before); err == nil {
		t.Error("garbage is not found")
	}
}
