package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/duel"
)

// The contestants' names.
const (
	vublk   = "vublk"
	again   = "vublk-again" // the control
	qemu    = "qemu-storage-daemon"
	fio     = "fio"
	batched = "fio-batched"
	ceiling = "ceiling" // the driver's own, answering itself
	echo    = "echo"    // the driver's, with a device on the back-end's CPU that does nothing
	zeroes  = "zeroes"  // the driver's, with a device that fills what is read with zeros
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// enough is how far above the best figure the driver's ceiling is to be.
const enough = 1.5

// sets are the parts of the standard set. A part that needs other contestants than these brings its own
// (duel.Contestant).
var sets = []func(*site) []*entry{
	nullPolling, nullSleeping, sparseFile, tmpfsFile, realDisk, memory, sequential, rings, crowds, collections, observation,
}

// standard is the whole set, or what of it is wanted.
func standard(s *site, only *regexp.Regexp) []*entry {
	var wanted []*entry
	for _, set := range sets {
		for _, e := range set(s) {
			if !only.MatchString(e.Name) {
				continue
			}
			if e.Load.Wait == bench.Polling && !e.slow {
				e.Probe = s.probe // else there is something that takes longer than a cache line on its way
			}
			if s.rounds > 0 {
				e.Rounds = s.rounds
			}
			if s.duration > 0 {
				e.Load.Duration = s.duration
			}
			for _, c := range e.Contestants {
				if f, ok := c.(*duel.Fio); ok {
					f.Load = e.Load
				}
			}
			wanted = append(wanted, e)
		}
	}
	return wanted
}

// trio is what each contest begins with: vublk, the peer, and vublk again, each with a disk of its own.
func (s *site) trio(name, title string, load bench.Config, disk func(label string) duel.Store) *entry {
	dir := filepath.Join(s.disk, name)
	return &entry{
		Contest: duel.Contest{
			Name: name, Title: title, Load: load, Rounds: 15, Control: [2]string{vublk, again},
			Contestants: []duel.Contestant{
				duel.Vublk(s.vublk, dir, vublk, s.backendCPU, disk(vublk)),
				duel.Peer(s.qemu, dir, qemu, s.backendCPU, disk(qemu)),
				duel.Vublk(s.vublk, dir, again, s.backendCPU, disk(again)),
			},
		},
		dirs: []string{dir},
	}
}

// limit adds a comparison of vublk with another one. Of IOPS it is a lower limit, else an upper one; 0 is none.
func (e *entry) limit(m duel.Metric, to string, limit float64) *entry {
	c := duel.Comparison{Metric: m, Of: vublk, To: to}
	if m.MoreIsBetter() {
		c.AtLeast = limit
	} else {
		c.AtMost = limit
	}
	e.Comparisons = append(e.Comparisons, c)
	return e
}

// ceiling adds the driver's own, and how far a device would come that does nothing.
func (e *entry) ceiling(s *site, limit float64) *entry {
	e.Contestants = append(e.Contestants, &duel.Ceiling{Label: ceiling, Self: true}, &duel.Ceiling{Label: echo, CPU: s.backendCPU})
	e.Comparisons = append(e.Comparisons,
		duel.Comparison{Metric: duel.IOPS, Of: ceiling, To: vublk, AtLeast: limit}, duel.Comparison{Metric: duel.IOPS, Of: echo, To: vublk})
	return e
}

// sleeping makes the driver one that sleeps: wake-ups of a virtual machine vary by a factor of three from second to second,
// so turns are short and many.
func (e *entry) sleeping() *entry {
	e.Load.Wait, e.Load.Duration, e.Rounds = bench.Sleeping, time.Second, 30
	return e
}

func nothing(string) duel.Store { return duel.Store{Size: gib} }

func nullPolling(s *site) []*entry {
	var all []*entry
	for _, single := range []bool{false, true} {
		for _, depth := range []int{32, 128} {
			load := s.load(depth)
			name, title, least, room := fmt.Sprintf("null-poll-%d", depth), "Null store", 2.5, enough
			if single {
				name, title, least, room = name+"-single", "Null store, each request published on its own", 0, 0
				load.Batch = 1
			}
			e := s.trio(name, title, load, nothing).limit(duel.IOPS, qemu, least).limit(duel.P99, qemu, 0).ceiling(s, room)
			all = append(all, e)
		}
	}
	return all
}

func nullSleeping(s *site) []*entry {
	return []*entry{
		s.trio("null-sleep-1", "Null store, driver that sleeps", s.load(1), nothing).sleeping().
			limit(duel.MeanLatency, qemu, 0.7).limit(duel.CPUPerRequest, qemu, 0),
		s.trio("null-sleep-32", "Null store, driver that sleeps", s.load(32), nothing).sleeping().
			limit(duel.IOPS, qemu, 1.2).limit(duel.CPUPerRequest, qemu, 0.7),
	}
}

// files gives each contestant a file of its own, made by a function, in a directory below parent.
func (s *site) files(name, title, parent string, load bench.Config, size int64, create func(string, int64) error) *entry {
	dir := filepath.Join(parent, name+"-files")
	path := func(label string) string { return filepath.Join(dir, label+".raw") }
	e := s.trio(name, title, load, func(label string) duel.Store { return duel.Store{File: path(label)} })
	e.dirs, e.slow = append(e.dirs, dir), true
	e.Prepare = func() error {
		for _, label := range []string{vublk, qemu, again} {
			if err := create(path(label), size); err != nil {
				return err
			}
		}
		return nil
	}
	return e
}

// fio adds fio on a file: on one CPU, where back-end and driver have one each.
func (e *entry) fio(s *site, label, file string, limit float64, options ...string) *entry {
	e.Contestants = append(e.Contestants, &duel.Fio{Label: label, Program: s.fio, File: file, CPU: s.backendCPU, Options: options, Load: e.Load})
	return e.limit(duel.IOPS, label, limit)
}

// own is the file of the first vublk, which fio uses while that one waits for its turn.
func (e *entry) own() string { return filepath.Join(e.dirs[1], vublk+".raw") }

// quickest is how fio gets the most out of a file: many requests a system call, files and buffers registered.
var quickest = []string{
	"--iodepth_batch_submit=16", "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=32",
	"--registerfiles=1", "--fixedbufs=1", "--nonvectored=1",
}

const fioShares = "fio's CPU also makes the load; a back-end's driver has a CPU of its own."

func sparseFile(s *site) []*entry {
	e := s.files("sparse-poll-32", "Sparse file", s.disk, s.load(32), gib, sparse).limit(duel.IOPS, qemu, 5).limit(duel.CPUPerRequest, qemu, 0)
	e.fio(s, fio, e.own(), 1.5).fio(s, batched, e.own(), 0, quickest...)
	e.Note = "The file system answers holes by itself: real O_DIRECT reads through io_uring, and no disk in the way. " + fioShares
	asleep := s.files("sparse-sleep-32", "Sparse file, driver that sleeps", s.disk, s.load(32), gib, sparse).sleeping().
		limit(duel.IOPS, qemu, 1.3).limit(duel.CPUPerRequest, qemu, 0.7)
	return []*entry{e, asleep}
}

func tmpfsFile(s *site) []*entry {
	var all []*entry
	for _, word := range []string{"randread", "randwrite"} {
		load := s.load(32)
		if word == "randwrite" {
			load.Mix.WritePercent = 100
		}
		e := s.files("tmpfs-"+word, "File on a tmpfs, O_DIRECT", s.memory, load, 256*mib, full).limit(duel.IOPS, qemu, 1.5)
		e.fio(s, fio, e.own(), 0.9).limit(duel.CPUPerRequest, qemu, 0)
		e.Note = "The kernel hands each of these requests to a thread of io_uring's (io-wq). " + fioShares
		e.err = s.noTmpfs
		all = append(all, e)
	}
	return all
}

// realDisk has all on the same file, read-only: where a file lies matters there.
func realDisk(s *site) []*entry {
	dir := filepath.Join(s.disk, "disk-files")
	path := filepath.Join(dir, "disk.raw")
	e := s.trio("disk-randread", "Written file on the real disk", s.load(32), func(string) duel.Store {
		return duel.Store{File: path, ReadOnly: true}
	})
	e.dirs, e.slow = append(e.dirs, dir), true
	e.Prepare = func() error { return full(path, gib) }
	e.limit(duel.IOPS, qemu, 0).fio(s, fio, path, 0).limit(duel.CPUPerRequest, qemu, 0)
	e.Note, e.Ungated = "The disk is the bottleneck: no limit.", true
	return []*entry{e}
}

func memory(s *site) []*entry {
	store := func(string) duel.Store { return duel.Store{Memory: true, Size: 256 * mib} }
	var all []*entry
	for _, block := range []uint32{4 * kib, 128 * kib} {
		load := s.load(32)
		load.BlockSize = block
		name := fmt.Sprintf("mem-%dk", block/kib)
		fresh := s.trio(name, "Store in memory, never written", load, store).limit(duel.IOPS, qemu, 2)
		fresh.Contestants = append(fresh.Contestants, &duel.Ceiling{Label: zeroes, CPU: s.backendCPU, Zeroes: true})
		fresh.Comparisons = append(fresh.Comparisons, duel.Comparison{Metric: duel.IOPS, Of: zeroes, To: qemu})
		fresh.Note = "The peer keeps no data, it fills the guest's memory with zeroes: so does a disk in memory that was never written. " +
			"The bound for any back-end is a device that does that and nothing else."
		written := s.trio(name+"-written", "Store in memory, written", load, store).limit(duel.IOPS, qemu, 0)
		written.Note = "vublk copies data that was written before; the peer's zeroes come from nowhere: no limit."
		for _, c := range written.Contestants {
			if b, ok := c.(*duel.Backend); ok && b.Label != qemu {
				b.Before = &bench.Config{
					Depth: 8, BlockSize: mib, Mix: bench.Mix{Sequential: true, WritePercent: 100}, CPUs: load.CPUs, Duration: time.Second,
				}
			}
		}
		all = append(all, fresh, written)
	}
	return all
}

func sequential(s *site) []*entry {
	var all []*entry
	for _, block := range []uint32{64 * kib, mib} {
		load := s.load(32)
		load.BlockSize, load.Mix.Sequential = block, true
		if block == mib {
			load.Depth = 8
		}
		size := fmt.Sprintf("%dk", block/kib)
		all = append(all,
			s.trio("null-read-"+size, "Null store", load, nothing).limit(duel.IOPS, qemu, 1),
			s.files("sparse-read-"+size, "Sparse file", s.disk, load, gib, sparse).limit(duel.IOPS, qemu, 1))
	}
	return all
}

// rings compares the ring formats: vublk with itself.
func rings(s *site) []*entry {
	const split, packed = "split", "packed"
	dir := filepath.Join(s.disk, "rings")
	e := &entry{dirs: []string{dir}}
	e.Contest = duel.Contest{
		Name: "packed", Title: "Null store, packed and split rings", Load: s.load(32), Rounds: 21, Control: [2]string{split, split + "-again"},
		Comparisons: []duel.Comparison{{Metric: duel.IOPS, Of: packed, To: split, AtLeast: 0.97}},
	}
	for _, label := range []string{split, packed, split + "-again"} {
		b := duel.Vublk(s.vublk, dir, label, s.backendCPU, nothing(label))
		if label == packed {
			b.Adjust = func(c *bench.Config) { c.Packed = true }
		}
		e.Contestants = append(e.Contestants, b)
	}
	e.Note = "The first and the third have split rings, the second packed ones; the programs are the same."
	return []*entry{e}
}
