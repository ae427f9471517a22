package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
)

// How long half of the upgrades may keep a guest waiting, at most: in restarts of the same shape of guest just after them, by
// which the machine's other work comes out, in half of the shapes, and in a long run, which is to have the machine for itself,
// also by the clock. The ratio was 0.5 on a quiet machine, and up to 0.9 on a busy one.
const (
	upgradeRatio     = 2.0
	upgradeRatioLong = 1.0
	upgradeStall     = 50 * time.Millisecond
)

// upgraded is a vublk whose worker is not killed, but replaced by another, of the next program in turn.
type upgraded struct {
	supervised
	link     string // what the supervisor takes for its program
	programs []string
	turn     int
}

var (
	handedOver = regexp.MustCompile(`msg="upgrade: handed over"`)
	trouble    = regexp.MustCompile(`.*level=(WARN|ERROR).*`)
)

// upgrading makes back-ends that begin with the first of the programs.
func upgrading(programs ...string) maker {
	return func(dir, image string, r *rand.Rand) backend {
		socket, link := filepath.Join(dir, "s"), filepath.Join(dir, "vublk")
		argv := serve(socket, image, r, "--supervise")
		argv[0] = link
		return &upgraded{supervised: supervised{restarted: restarted{dir: dir, socket: socket, argv: argv}}, link: link, programs: programs}
	}
}

// install gives the name that the supervisor knows to a program.
func (b *upgraded) install(program string) error {
	if err := os.Symlink(program, b.link+".new"); err != nil {
		return errors.WithStack(err)
	}
	return errors.WithStack(os.Rename(b.link+".new", b.link))
}

// start has nothing to do but the first time.
func (b *upgraded) start() error {
	if b.process != nil {
		return nil
	}
	if err := b.install(b.programs[0]); err != nil {
		return err
	}
	return b.supervised.start()
}

func (b *upgraded) kill() error {
	return b.upgrade(b.programs[(b.turn+1)%len(b.programs)])
}

// demand asks the supervisor for a worker of the program.
func (b *upgraded) demand(program string) error {
	if err := b.install(program); err != nil {
		return err
	}
	return b.signal(syscall.SIGUSR2)
}

// upgrade returns when a worker of the program is in the place of the old one.
func (b *upgraded) upgrade(program string) (err error) {
	b.turn++
	if err := b.demand(program); err != nil {
		return err
	}
	if _, err := b.process.AwaitLog(handedOver, b.turn); err != nil {
		return err
	}
	b.worker, err = b.process.Worker(b.worker)
	return err
}

// runs is the file of the program that the worker executes.
func (b *upgraded) runs() (string, error) {
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", b.worker))
	return program, errors.WithStack(err)
}

// quiet is an upgraded of whose log nobody should be alarmed.
type quiet struct{ *upgraded }

func (b quiet) stop() error {
	if err := b.upgraded.stop(); err != nil {
		return err
	}
	if found := trouble.FindString(b.log()); found != "" {
		return errors.Errorf("upgrades without trouble have it say: %s", found)
	}
	return nil
}

// quietly makes a maker's back-ends quiet.
func quietly(m maker) maker {
	return func(dir, image string, r *rand.Rand) backend {
		b, _ := m(dir, image, r).(*upgraded)
		return quiet{b}
	}
}

// TestUpgrade replaces the worker under guests of each shape: by one of the same program, and by turns with one that was
// built from another commit. The control is the same supervisor with its worker killed, in turns with them, so that what the
// machine does meanwhile meets both.
func TestUpgrade(t *testing.T) {
	t.Logf("VUBLK_SEED=%#x", lab.seed)
	other, commit := otherCommit(t)
	t.Log("the other commit is", commit)
	var rows []*row
	t.Cleanup(func() { printTable(t, rows) })
	modes := []mode{
		{name: "vublk, upgrade", maker: quietly(upgrading(lab.vublk)), short: 4, long: 40, gentle: true, alive: true},
		{name: "vublk, other commit", maker: quietly(upgrading(other, lab.vublk)), short: 4, long: 40, gentle: true, alive: true},
		{name: "vublk, restart", maker: resuming, short: 4, long: 40, alive: true},
	}
	all, last := make([]row, len(modes)), len(modes)-1
	ratios := make([][]float64, len(modes)) // of each shape
	for j, s := range shapes {
		for i, m := range modes {
			r := &row{mode: m.name, shape: s}
			rows = append(rows, r)
			t.Run(fmt.Sprintf("%s,packed=%v,queues=%d", m.name, s.packed, s.queues), func(t *testing.T) {
				m.campaign(t, r, lab.seed+uint64(i)<<48+uint64(j)<<32)
			})
			all[i].kills += r.kills
			all[i].stalls = append(all[i].stalls, r.stalls...)
		}
		of := rows[len(rows)-len(modes):]
		for i := range modes {
			ratios[i] = append(ratios[i], float64(of[i].stall(0.5))/float64(max(of[last].stall(0.5), 1)))
		}
	}
	for i, m := range modes {
		r := &all[i]
		p50 := r.stall(0.5)
		slices.Sort(ratios[i])
		ratio := ratios[i][(len(ratios[i])-1)/2]
		t.Logf("%s: %d times, the longest time without a completion p50 %d ms, p99 %d ms, max %d ms, p50 to the restarts' %.2f, of %.2f",
			m.name, r.kills, p50, r.stall(0.99), r.stall(1), ratio, ratios[i])
		switch {
		case i == last:
		case ratio > upgradeRatio, lab.long && ratio > upgradeRatioLong:
			t.Errorf("%s: p50 %d ms, and of the restarts %d ms; by shapes %.2f times as long", m.name, p50, all[last].stall(0.5), ratios[i])
		case lab.long && p50 > upgradeStall.Milliseconds():
			t.Errorf("%s: p50 %d ms, want %v at most", m.name, p50, upgradeStall)
		}
	}
}
