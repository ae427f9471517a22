package native

import (
	"testing"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	unit    = 4096 // of the loop device: what can be written at once
	perUnit = unit / sectorSize
	queues  = 2
)

// extent is some sectors that one slot of one queue writes, and nobody else unless they are disputed.
type extent struct {
	sector  uint64
	sectors int
	queue   int
}

func (e extent) end() uint64 { return e.sector + uint64(e.sectors) }

// tile lays extents of these lengths out without gaps, again and again, in so many units. Neighbours belong to different
// queues.
func tile(units int, lengths ...int) (all []extent) {
	for at, i := uint64(0), 0; at < uint64(units*perUnit); i++ {
		e := extent{sector: at, sectors: lengths[i%len(lengths)], queue: i % queues}
		all = append(all, e)
		at = e.end()
	}
	return all
}

// neighbours is a test on a device with units of 4096 bytes: each queue has its own worker, so that units are read,
// modified and written by both all the time.
type neighbours struct {
	extents   []extent
	disputed  map[uint64]bool // sectors of two extents
	rounds    uint64          // writes of each extent
	readEvery int             // of so many jobs of a slot one is a read
}

// TestNeighbouringSectors writes single sectors, a million in sum.
func TestNeighbouringSectors(t *testing.T) {
	n := neighbours{extents: tile(8, 1), readEvery: 64}
	n.rounds = 1_000_000 / uint64(len(n.extents))
	n.run(t)
}

// TestNeighbouringSectorsAndUnits has writes of whole units and writes across the border of two among the sectors, and
// many reads. Within each whole unit the other queue writes a sector, too: what that one holds is anybody's guess, but
// its neighbours must not get old content back.
func TestNeighbouringSectorsAndUnits(t *testing.T) {
	n := neighbours{
		extents: tile(12,
			1, 1, 1, 1, 1, 1, 1, // unit 0, up to its last sector
			2,                   // that one and the first of unit 1
			1, 1, 1, 1, 1, 1, 1, // the rest of unit 1
			perUnit, // unit 2
		),
		disputed:  map[uint64]bool{},
		readEvery: 4,
	}
	for _, e := range n.extents {
		if e.sectors == perUnit {
			within := extent{sector: e.sector + 3, sectors: 1, queue: 1 - e.queue}
			n.extents = append(n.extents, within)
			n.disputed[within.sector] = true
		}
	}
	n.rounds = 200_000 / uint64(len(n.extents))
	n.run(t)
}

// verify is for all sectors of which one can know what they hold.
func (n neighbours) verify(data []byte, sector, v uint64) error {
	for ; len(data) > 0; data = data[sectorSize:] {
		if !n.disputed[sector] {
			if err := verify(data[:sectorSize], sector, v); err != nil {
				return err
			}
		}
		sector++
	}
	return nil
}

// size is what of the device is used, in bytes.
func (n neighbours) size() int {
	var end uint64
	for _, e := range n.extents {
		end = max(end, e.end())
	}
	return int(end * sectorSize)
}

func (n neighbours) run(t *testing.T) {
	device := newLoop(t, 64*mib)
	s := serve(t, device.path, "--num-queues=2", "--workers=2")
	front := connect(t, s, vhostusertest.Options{
		Queues: queues, QueueSize: 512, Memory: []guestmem.RegionInfo{virtiotest.RAM(16 * mib)},
	})
	var pumps [queues]*pump
	var actors [queues]*actor
	for q := range pumps {
		actors[q] = newActor(n, q)
		var err error
		if pumps[q], err = newPump(front.Queue(q), len(actors[q].own), unit); err != nil {
			t.Fatal(err)
		}
		for i := range pumps[q].slots {
			pumps[q].lay(i, layouts[i%len(layouts)])
		}
	}
	n.play(t, pumps, actors)
	n.look(t, pumps[0])
	if err := front.Stop(); err != nil {
		t.Fatal(err)
	}
	s.stop(t)
	n.lookFromHost(t, device)
}

// play runs all queues, each in its own goroutine.
func (n neighbours) play(t *testing.T, pumps [queues]*pump, actors [queues]*actor) {
	t.Helper()
	begin := time.Now()
	errs := make(chan error, queues)
	for q, p := range pumps {
		go func() { errs <- p.run(len(p.slots), actors[q]) }()
	}
	for range pumps {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	writes, reads := 0, 0
	for _, a := range actors {
		writes += a.writes
		reads += a.reads
	}
	if want := int(n.rounds) * len(n.extents); writes != want || reads < want/n.readEvery {
		t.Errorf("%d writes and %d reads, want %d writes", writes, reads, want)
	}
	t.Logf("%d writes and %d reads in %v", writes, reads, time.Since(begin).Round(time.Millisecond))
}

// actor is the script of one queue: each slot writes its own extent, version after version, and reads it now and then.
type actor struct {
	neighbours
	own           []mine
	writes, reads int
}

// mine is an extent and the version that it holds.
type mine struct {
	extent
	version uint64
	jobs    int
	final   bool // the last read has begun
}

// newActor gives queue q its extents.
func newActor(n neighbours, q int) *actor {
	a := &actor{neighbours: n}
	for _, e := range n.extents {
		if e.queue == q {
			a.own = append(a.own, mine{extent: e})
		}
	}
	return a
}

func (a *actor) next(slot int) (job, bool) {
	m := &a.own[slot]
	j := job{kind: blk.RequestOut, sector: m.sector, size: m.sectors * sectorSize}
	m.jobs++
	switch {
	case m.final:
		return job{}, false
	case m.version == a.rounds:
		m.final = true
		j.kind = blk.RequestIn
	case m.version > 0 && m.jobs%a.readEvery == 0:
		j.kind = blk.RequestIn
	default:
		m.version++
	}
	return j, true
}

func (a *actor) fill(slot int, j job, data []byte) { content(data, j.sector, a.own[slot].version) }

func (a *actor) done(slot int, j job, data []byte) error {
	if j.kind == blk.RequestOut {
		a.writes++
		return nil
	}
	a.reads++
	return a.verify(data, j.sector, a.own[slot].version)
}

// look reads everything through the front-end.
func (n neighbours) look(t *testing.T, p *pump) {
	t.Helper()
	v := &viewer{neighbours: n, units: uint64(n.size() / unit)}
	if err := p.run(len(p.slots), v); err != nil {
		t.Fatal(err)
	}
	if v.ended != v.units {
		t.Fatalf("%d of %d units read", v.ended, v.units)
	}
}

// viewer is the script that reads one unit after the other.
type viewer struct {
	neighbours
	units, issued, ended uint64
}

func (v *viewer) next(int) (job, bool) {
	if v.issued == v.units {
		return job{}, false
	}
	v.issued++
	return job{kind: blk.RequestIn, sector: (v.issued - 1) * perUnit, size: unit}, true
}

func (v *viewer) fill(int, job, []byte) {}

func (v *viewer) done(_ int, j job, data []byte) error {
	v.ended++
	return v.verify(data, j.sector, v.rounds)
}

// lookFromHost reads what the device is made of.
func (n neighbours) lookFromHost(t *testing.T, d *loopDevice) {
	t.Helper()
	b := make([]byte, n.size())
	if _, err := d.file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.verify(b, 0, n.rounds); err != nil {
		t.Fatalf("seen from the host: %v", err)
	}
}
