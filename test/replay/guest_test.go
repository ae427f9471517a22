package replay

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/test/e2e/guest"
)

const (
	guestDisk    = 64 * mib
	guestWriters = 3
	guestTime    = 5 * time.Minute // for 100 files, on a slow machine
	scriptTime   = 5 * time.Minute
)

// synced is what is known of the guest's files: how many entries the log had when the fsync had surely returned.
type synced struct {
	reported map[name]uint64 // by the console
	marked   map[name]uint64 // by the next file's data in the log
}

// due returns the smaller number.
func (s *synced) due() map[name]uint64 {
	due := maps.Clone(s.marked)
	for n, entries := range s.reported {
		if early, ok := due[n]; !ok || entries < early {
			due[n] = entries
		}
	}
	return due
}

// TestGuest has a Linux guest fsync files on ext4, and replays to flushes what arrived: the file system is clean, and every
// file whose fsync had returned is whole.
func TestGuest(t *testing.T) {
	files, points := 100, 22
	if lab.long {
		files, points = 1000, 400
	}
	p := newGuestProof(t, files, points, "--cache=auto")
	p.print(t, "ext4, --cache=auto")
	if len(p.lost) > 0 {
		t.Errorf("lost: %v", p.lost)
	}
	if p.replayed < points/2 || p.wanted < p.replayed {
		t.Error("too little was done to prove anything")
	}
	t.Run("a lost write is found", func(t *testing.T) { findLost(t, p) })
	if lab.long {
		t.Run("unsafe", func(t *testing.T) {
			p := newGuestProof(t, 100, points, "--cache=unsafe")
			p.print(t, "ext4, --cache=unsafe")
			if len(p.lost) == 0 {
				t.Error("nothing was lost, although nothing was flushed")
			}
		})
	}
}

// guestProof is a guest's log, judged.
type guestProof struct {
	*judge
	*synced
}

func newGuestProof(t *testing.T, files, points int, options ...string) guestProof {
	t.Helper()
	dir := newDir(t)
	m, err := guest.CreateSparse(filepath.Join(dir, "image"), guestDisk)
	must(t, err)
	must(t, m.Mkfs("", "-b", fmt.Sprint(blockSize), "-J", "size=4", "-N", "4096",
		// What the guest would initialise later is no load of ours.
		"-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"))
	base, err := os.ReadFile(m.Path)
	must(t, err)
	r := newRecorder(t, dir, guestDisk)
	s := &synced{reported: record(t, r, files, options...), marked: map[name]uint64{}}
	j, err := newJudge(r.log(), base, s, points)
	must(t, err)
	must(t, j.run(fileSystem{newDir(t)}, nil))
	return guestProof{j, s}
}

func (p guestProof) print(t *testing.T, mode string) {
	t.Helper()
	t.Logf("| %-19s | %-36s | %-13s | %5d writes | %5d fsyncs | %5d flush points, %d replayed | %5d files wanted | %5d lost |",
		"vublk, Linux guest", mode, "write-back", p.writes, len(p.reported), p.flushes, p.replayed, p.wanted, len(p.lost))
}

// record boots a guest and returns what it reported. Then it pulls the plug.
func record(t *testing.T, r *recorder, files int, options ...string) map[name]uint64 {
	t.Helper()
	b, socket := r.serve(t, append(options, "--num-queues=2")...)
	kernel, err := guest.FindKernel(lab.repo)
	must(t, err)
	o := guest.Options{Dir: newDir(t), Kernel: kernel.Image, Disks: []guest.Disk{{ID: "disk0", Socket: socket, NumQueues: 2}}}
	o.Initramfs = filepath.Join(o.Dir, "initramfs")
	must(t, guest.Initramfs(kernel, o.Initramfs, guest.Contents{}))
	g, err := guest.Start(o)
	must(t, err)
	defer g.Close()
	defer func() {
		if t.Failed() {
			t.Logf("console:\n%s", g.Console())
		}
	}()
	_, err = g.WaitReady()
	must(t, err)
	switch result, err := g.Run("mount -t ext4 /dev/vda /mnt", scriptTime); {
	case err != nil:
		t.Fatal(err)
	case result.Status != 0:
		t.Fatal(result.Output)
	}
	for w := range guestWriters {
		must(t, g.Background(fmt.Sprintf("w%d", w), script(w)))
	}
	reported := map[name]uint64{}
	limit := time.Duration(files) * guestTime / 100
	for deadline := time.Now().Add(limit); len(reported) < files; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the guest has reported %d files within %v, not %d", len(reported), limit, files)
		}
		must(t, listen(r, g, reported))
	}
	must(t, g.Kill())
	must(t, b.Stop())
	r.stop(t)
	return reported
}

// listen notes what the guest has reported since. The console is read before the log: the log may only be too long.
func listen(r *recorder, g *guest.Guest, reported map[name]uint64) error {
	lines := reportLine.FindAllSubmatch([]byte(g.Console()), -1)
	n, err := r.entries()
	for _, m := range lines {
		if _, known := reported[parseName(m)]; !known {
			reported[parseName(m)] = n
		}
	}
	return err
}

// judge replays a guest's log.
type judge struct {
	path   string
	base   []byte
	owed   map[name]uint64 // the index of the first point that must hold the file
	chosen map[uint64]bool // points to look at, by index

	writes, flushes, replayed int
	wanted                    int // files, all points together
	lost                      []string
}

// newJudge reads the log once, for the marks and the flushes, and chooses so many of the points at which a file is owed
// for the first time, evenly over the run, and the last.
func newJudge(path string, base []byte, s *synced, points int) (*judge, error) {
	j := &judge{path: path, base: base, owed: map[name]uint64{}, chosen: map[uint64]bool{}}
	var stables []uint64
	r, err := replay(path, slices.Clone(base), observer{
		entry: func(e entry) bool {
			s.mark(e)
			return true
		},
		point: func(p point) error {
			stables = append(stables, p.index)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	j.writes, j.flushes = r.writes, len(stables)
	candidates := map[uint64]bool{}
	for n, entries := range s.due() {
		i, found := slices.BinarySearch(stables, entries)
		switch {
		case found:
			j.owed[n] = stables[i]
		case i > 0:
			j.owed[n] = stables[i-1]
		default:
			j.lost = append(j.lost, fmt.Sprintf("%v before any flush", n))
			continue
		}
		candidates[j.owed[n]] = true
	}
	sorted := slices.Sorted(maps.Keys(candidates))
	points = min(points, len(sorted))
	for i := range points {
		j.chosen[sorted[len(sorted)-1-i*len(sorted)/points]] = true
	}
	return j, nil
}

// mark notes what the data of a file tells of the one before.
func (s *synced) mark(e entry) {
	for _, n := range namesIn(e) {
		before := name{n.writer, n.number - 1}
		if _, known := s.marked[before]; !known && n.number > 0 {
			s.marked[before] = e.index - 1
		}
	}
}

// run looks at the chosen points. The observer's entry may leave writes out.
func (j *judge) run(f fileSystem, entry func(entry) bool) error {
	_, err := replay(j.path, slices.Clone(j.base), observer{entry: entry, point: func(p point) error {
		if !j.chosen[p.index] {
			return nil
		}
		var files []name
		for n, from := range j.owed {
			if from <= p.index {
				files = append(files, n)
			}
		}
		lost, err := f.lost(p.disk, files)
		j.replayed++
		j.wanted += len(files)
		for _, n := range lost {
			j.lost = append(j.lost, fmt.Sprintf("%v after entry %d", n, p.index))
		}
		return err
	}})
	return err
}

// findLost leaves the data of one file out: the check must see it, or it proves nothing.
func findLost(t *testing.T, p guestProof) {
	t.Helper()
	j, err := newJudge(p.path, p.base, p.synced, 1)
	must(t, err)
	var victim name
	for n, at := range j.owed { // the one that the last point is the first to owe
		if j.chosen[at] {
			victim = n
		}
	}
	must(t, j.run(fileSystem{newDir(t)}, func(e entry) bool { return !slices.Contains(namesIn(e), victim) }))
	if !slices.ContainsFunc(j.lost, func(s string) bool { return strings.HasPrefix(s, victim.String()) }) {
		t.Errorf("the data of %v was left out, and nobody saw it; found: %v", victim, j.lost)
	}
}
