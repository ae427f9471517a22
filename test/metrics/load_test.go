package metrics

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// kinds of request beside those of clitest (virtio-v1.3 5.2.6).
const (
	discard     = 11
	writeZeroes = 13
	unknown     = 77
)

const (
	mib      = 1 << 20
	diskSize = 64 * mib
	queues   = 3
)

// ledger is what was asked of an export: by "metric op queue".
type ledger struct {
	name  string
	guest *clitest.Guest
	want  map[string]int
	syncs int // fdatasyncs that no flush has asked for
}

func newLedger(t *testing.T, name, socket string) *ledger {
	t.Helper()
	return &ledger{name: name, want: map[string]int{}, guest: clitest.Attach(t, socket, vhostusertest.Options{Queues: queues})}
}

// do makes one request of n bytes and books it.
func (l *ledger) do(t *testing.T, q int, op string, kind uint32, sector uint64, data []byte, n int, status byte) {
	t.Helper()
	if got := l.guest.Do(q, kind, sector, data); got != status {
		t.Fatalf("%s, sector %d: status %d, want %d", op, sector, got, status)
	}
	key := " " + op + " " + strconv.Itoa(q)
	l.want["requests"+key]++
	l.want["bytes"+key] += n
	switch status {
	case clitest.StatusIOErr:
		l.want["errors"+key]++
	case 2:
		l.want["unsupported"+key]++
	}
}

func segment(sector uint64, sectors uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, sectors)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// load makes n requests of all kinds.
func (l *ledger) load(t *testing.T, n int) {
	t.Helper()
	for range n {
		q := rand.IntN(queues)
		sector := uint64(8 * rand.IntN(1000))
		size := 4096 * (1 + rand.IntN(4))
		switch rand.IntN(10) {
		case 0, 1, 2:
			l.do(t, q, "read", clitest.In, sector, make([]byte, size), size, 0)
		case 3, 4, 5:
			l.do(t, q, "write", clitest.Out, sector, make([]byte, size), size, 0)
		case 6:
			l.do(t, q, "flush", clitest.Flush, 0, nil, 0, 0)
		case 7:
			l.do(t, q, "discard", discard, 0, segment(sector, 64), 64*512, 0)
			l.do(t, q, "write_zeroes", writeZeroes, 0, segment(sector, 8), 8*512, 0)
		case 8:
			l.do(t, q, "read", clitest.In, diskSize/512, make([]byte, size), size, clitest.StatusIOErr)
			l.do(t, q, "write", clitest.Out, diskSize/512-1, make([]byte, 4096), 4096, clitest.StatusIOErr)
		case 9:
			l.do(t, q, "other", unknown, 0, nil, 0, 2)
		}
	}
}

// sum adds up what was booked of a metric and an operation; "": of all.
func (l *ledger) sum(metric, op string) (n int) {
	for _, one := range []string{"read", "write", "flush", "discard", "write_zeroes", "other"} {
		for q := range queues {
			if op == "" || op == one {
				n += l.want[metric+" "+one+" "+strconv.Itoa(q)]
			}
		}
	}
	return n
}
