package crash

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	limit     = 10 * time.Second // for a request, see driver.Turn
	lifeKills = 20               // of one guest
	longKills = 2000             // by SIGKILL, of a long run
)

// shape is what a guest's queues are like.
type shape struct {
	packed bool
	queues int
}

var (
	shapes = []shape{{false, 1}, {false, 2}, {false, 4}, {true, 1}, {true, 2}, {true, 4}}
	splits = shapes[:3] // qemu-storage-daemon 7.2 has no packed rings
)

// mode is a back-end with its way of ending and coming back.
type mode struct {
	name   string
	maker  maker
	shapes []shape
	short  int // kills of guests of a shape
	long   int
	gentle bool // no kill -9
	alive  bool // the old one serves until the new one is there
	loses  bool // faults must be found, or nothing is proved
}

// modes are the lines of the table.
var modes = []mode{
	{name: "vublk, reconnect", maker: reconnecting, shapes: shapes, short: 60, long: 400},
	{name: "vublk, resume", maker: resuming, shapes: shapes, short: 60, long: 400},
	{name: "vublk, take-over", maker: takenOver, shapes: shapes, short: 20, long: 100, gentle: true},
	{name: "vublk, SIGTERM", maker: terminating, shapes: shapes, short: 10, long: 60, gentle: true},
	{name: "qemu-storage-daemon", maker: daemon, shapes: splits, short: 20, long: 60, loses: true},
}

// serve is the command line of a vublk.
func serve(socket, image string, r *rand.Rand, options ...string) []string {
	argv := []string{lab.vublk, "serve", "--socket-path=" + socket, "--blk-file=" + image, fmt.Sprintf("--workers=%d", 1+r.IntN(2))}
	return append(argv, options...)
}

func reconnecting(dir, image string, r *rand.Rand) backend {
	socket := filepath.Join(dir, "s")
	return &restarted{dir: dir, socket: socket, argv: serve(socket, image, r)}
}

func resuming(dir, image string, r *rand.Rand) backend {
	socket := filepath.Join(dir, "s")
	return &supervised{restarted: restarted{dir: dir, socket: socket, argv: serve(socket, image, r, "--supervise", "--restart-limit=0")}}
}

func takenOver(dir, image string, r *rand.Rand) backend {
	socket := filepath.Join(dir, "s")
	return &successive{restarted: restarted{dir: dir, socket: socket, argv: serve(socket, image, r)}}
}

func terminating(dir, image string, r *rand.Rand) backend {
	socket := filepath.Join(dir, "s")
	return &terminated{restarted{dir: dir, socket: socket, argv: serve(socket, image, r)}}
}

// daemon has no record of what is in flight.
func daemon(dir, image string, _ *rand.Rand) backend {
	socket := filepath.Join(dir, "s")
	return &restarted{dir: dir, socket: socket, argv: []string{
		"qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=disk,discard=unmap,cache.direct=on,filename=" + image,
		"--export", "type=vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=4,addr.type=unix,addr.path=" + socket,
	}}
}

// TestCampaign kills each back-end under guests of each shape, and prints the table.
func TestCampaign(t *testing.T) {
	t.Logf("VUBLK_SEED=%#x", lab.seed)
	var rows []*row
	t.Cleanup(func() { conclude(t, rows) })
	for i, m := range modes {
		for j, s := range m.shapes {
			r := &row{mode: m.name, shape: s}
			rows = append(rows, r)
			t.Run(fmt.Sprintf("%s,packed=%v,queues=%d", m.name, s.packed, s.queues), func(t *testing.T) {
				t.Parallel()
				m.campaign(t, r, lab.seed+uint64(i)<<48+uint64(j)<<32)
			})
		}
	}
}

// campaign has guests live until there were enough kills, or something is wrong.
func (m mode) campaign(t *testing.T, r *row, seed uint64) {
	kills := m.short
	if lab.long {
		kills = m.long
	}
	p := plan{shape: r.shape, maker: m.maker, limit: limit, alive: m.alive}
	if m.loses {
		p.limit = time.Second
	}
	for r.kills < kills && (m.loses || r.faults() == 0) {
		p.kills, p.seed = min(lifeKills, kills-r.kills), seed+uint64(r.lives)
		l, err := p.live(t)
		if r.add(l, err); err != nil && !m.loses {
			t.Errorf("guest %d: %v", r.lives, err)
		}
	}
	t.Logf("\n%s\n%v", header, r)
	if m.loses && r.faults() == 0 {
		t.Error("nothing was found: the campaign proves nothing")
	}
}

// conclude prints the table and counts.
func conclude(t *testing.T, rows []*row) {
	kills := 0
	for _, r := range rows {
		for _, m := range modes {
			if m.name == r.mode && !m.loses && !m.gentle {
				kills += r.kills
			}
		}
	}
	printTable(t, rows)
	t.Logf("%d kill -9 of vublk", kills)
	if lab.long && kills < longKills && !t.Failed() {
		t.Errorf("%d kills, want %d", kills, longKills)
	}
}

func printTable(t *testing.T, rows []*row) {
	var table strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&table, "\n%v", r)
	}
	t.Logf("VUBLK_SEED=%#x\n%s%s", lab.seed, header, &table)
}
