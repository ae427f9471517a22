package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/export"
)

// benchPlan is what is to be done: flags that were found to be right, and what follows from them.
type benchPlan struct {
	socket      string     // of a back-end that is not ours
	store       benchStore // for those that are
	compare     bool
	peer        string // path of qemu-storage-daemon, to compare
	ceiling     bool
	load        bench.Config // but for depth and socket
	word        string       // --rw
	depths      []int
	rounds      int
	backendCPUs []int
	output      string
	plot        string
}

// plan checks everything that can be checked before anything is begun.
func (f *benchFlags) plan(flags *pflag.FlagSet) (*benchPlan, error) {
	p := &benchPlan{
		socket: f.socket, compare: f.compare, ceiling: f.ceiling, load: f.load, word: f.rw.String(), depths: f.depths,
		rounds: f.rounds, backendCPUs: f.backendCPUs, output: f.output.String(), plot: f.plot,
	}
	p.load.BlockSize, p.load.Span, p.load.CPUs, p.load.Seed = uint32(f.blockSize), uint64(f.span), f.driverCPUs, uint64(f.seed)
	if f.driver.String() == driverSleeping {
		p.load.Wait = bench.Sleeping
	}
	if p.compare && !flags.Changed("rounds") {
		p.rounds = defaultCompareRounds
	}
	for _, check := range []func(*benchPlan, *pflag.FlagSet) error{
		f.checkTarget, f.checkMix, f.checkRoom, f.checkStore, f.checkCPUs, f.checkPlot, f.checkPeer,
	} {
		if err := check(p, flags); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (f *benchFlags) checkTarget(_ *benchPlan, _ *pflag.FlagSet) error {
	switch {
	case f.socket == "" && f.store == "":
		return errors.New("say what to measure: --socket=PATH of a back-end, or --store=null:1GiB for a vublk of its own")
	case f.socket != "" && f.store != "":
		return errors.New("--socket and --store contradict each other: one is a back-end that is there, the other is for one to start")
	case f.compare && f.store == "":
		return errors.New("--compare needs --store: the back-ends to compare are started for it; try --store=null:1GiB")
	case f.socket != "" && len(f.backendCPUs) > 0 && !f.ceiling:
		return errors.New("--backend-cpus: the back-end behind --socket is not ours to move; use taskset --all-tasks --cpu-list --pid")
	}
	return nil
}

// checkMix finds out what to do, and whether the shares that were given suit it.
func (f *benchFlags) checkMix(p *benchPlan, flags *pflag.FlagSet) error {
	mix, err := bench.ParseMix(p.word)
	if err != nil {
		return err
	}
	if flags.Changed("write-percent") {
		if mix.WritePercent == 0 || mix.WritePercent == 100 {
			return errors.Errorf("--write-percent=%d: --rw=%s has no share to choose; take --rw=randrw or --rw=rw", f.writePercent, p.word)
		}
		mix.WritePercent = f.writePercent
	}
	if flags.Changed("flush-percent") {
		if mix.FlushPercent > 0 {
			return errors.Errorf("--flush-percent=%d: --rw=flush has nothing else; take another --rw", f.flushPercent)
		}
		mix.FlushPercent = f.flushPercent
	}
	p.load.Mix = mix
	if mix.FlushPercent > 0 && isMadeStore(f.store) {
		return errors.Errorf("--store=%s: nothing can be flushed there; take an image: vublk create scratch.raw 1GiB", f.store)
	}
	if mix.Writes() && !f.destroy && (f.socket != "" || !isMadeStore(f.store)) {
		what := "the disk behind " + f.socket
		if f.store != "" {
			what = f.store
		}
		return errors.Errorf("--rw=%s writes: what is on %s is lost then; say --destroy-data if that is all right", p.word, what)
	}
	return nil
}

func (f *benchFlags) checkStore(p *benchPlan, _ *pflag.FlagSet) error {
	if f.store == "" {
		return checkSocket(f.socket)
	}
	var err error
	if p.store, err = parseStore(f.store, p.load.Mix); err != nil {
		return err
	}
	return p.store.checkSize(&p.load)
}

// checkRoom keeps a typing error from taking all the machine's memory.
func (f *benchFlags) checkRoom(p *benchPlan, _ *pflag.FlagSet) error {
	if span := p.load.Span; span > 0 && span < uint64(p.load.BlockSize) {
		return errors.Errorf("--span=%s: no room for a block; take %s, the size of a block, or more", export.FormatSize(f.span), export.FormatSize(f.blockSize))
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return errors.Wrap(err, "sysinfo")
	}
	half := uint64(si.Totalram) * uint64(si.Unit) / 2
	if want := uint64(p.load.Queues) * uint64(slices.Max(p.depths)) * uint64(p.load.BlockSize); want > half {
		return errors.Errorf("--queues=%d, --depth=%d and --bs=%s together take %d MiB of memory, more than half of this machine's; take less of one",
			p.load.Queues, slices.Max(p.depths), export.FormatSize(f.blockSize), want>>20)
	}
	return nil
}

func (f *benchFlags) checkPlot(_ *benchPlan, _ *pflag.FlagSet) error {
	if f.plot == "" {
		return nil
	}
	wrong := func(reason, remedy string) error {
		return &export.OptionError{Option: "--plot", Value: f.plot, Reason: reason, Remedy: remedy}
	}
	if ending := filepath.Ext(f.plot); ending != ".svg" && ending != ".png" {
		return wrong("the ending says which format, and this one does not", "take a name that ends in .svg or .png")
	}
	if st, err := os.Stat(f.plot); err == nil && !st.Mode().IsRegular() {
		return wrong("it is there and no regular file", "choose another name")
	}
	dir := filepath.Dir(f.plot)
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return wrong(fmt.Sprintf("no file can be made in %s: %v", dir, err), "choose another directory")
	}
	return nil
}

func (f *benchFlags) checkPeer(p *benchPlan, _ *pflag.FlagSet) (err error) {
	if !p.compare {
		return nil
	}
	p.peer, err = findPeer()
	return err
}

// String describes the load in a line, without the depth.
func (p *benchPlan) String() string {
	l := &p.load
	words := []string{p.mix() + " of " + export.FormatSize(int64(l.BlockSize))}
	if l.Mix.FlushPercent == 100 {
		words = []string{p.mix()}
	}
	queues := "1 queue"
	if l.Queues > 1 {
		queues = strconv.Itoa(l.Queues) + " queues"
	}
	words = append(words, queues+" ("+p.ring()+")", p.driver()+" driver")
	if l.Span > 0 {
		words = append(words, "first "+export.FormatSize(int64(l.Span)))
	}
	return strings.Join(words, ", ")
}

// mix is --rw with the shares that differ from what the word says.
func (p *benchPlan) mix() string {
	plain, err := bench.ParseMix(p.word)
	if err != nil || plain == p.load.Mix {
		return p.word
	}
	text := p.word
	if p.load.Mix.WritePercent != plain.WritePercent {
		text += fmt.Sprintf(" %d%% writes", p.load.Mix.WritePercent)
	}
	if p.load.Mix.FlushPercent != plain.FlushPercent {
		text += fmt.Sprintf(" %d%% flushes", p.load.Mix.FlushPercent)
	}
	return text
}

func (p *benchPlan) ring() string {
	ring := "split"
	if p.load.Packed {
		ring = "packed"
	}
	if p.load.Indirect {
		ring += ", indirect"
	}
	if p.load.NoEventIdx {
		ring += ", no EVENT_IDX"
	}
	return ring
}

func (p *benchPlan) driver() string {
	if p.load.Wait == bench.Sleeping {
		return driverSleeping
	}
	return driverPolling
}
