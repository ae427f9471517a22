package bench

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"

	"github.com/pkg/errors"
)

// Mix is which requests to make. The zero value is random reads.
type Mix struct {
	WritePercent int  // of the requests that are no flushes
	FlushPercent int  // of all requests
	Sequential   bool // each queue goes through its own part of the disk, again and again
}

var mixes = map[string]Mix{
	"randread":  {},
	"randwrite": {WritePercent: 100},
	"randrw":    {WritePercent: 50},
	"read":      {Sequential: true},
	"write":     {Sequential: true, WritePercent: 100},
	"rw":        {Sequential: true, WritePercent: 50},
	"flush":     {FlushPercent: 100},
}

// ParseMix accepts fio's words: randread, randwrite, randrw, read, write, rw, and flush.
func ParseMix(s string) (Mix, error) {
	if m, ok := mixes[s]; ok {
		return m, nil
	}
	return Mix{}, errors.Errorf("mix %q is none of randread, randwrite, randrw, read, write, rw, flush", s)
}

// String returns the word for ParseMix, or a description when there is none.
func (m Mix) String() string {
	for word, mix := range mixes {
		if m == mix {
			return word
		}
	}
	var parts []string
	if m.Sequential {
		parts = append(parts, "sequential")
	}
	parts = append(parts, fmt.Sprintf("%d%% writes", m.WritePercent))
	if m.FlushPercent > 0 {
		parts = append(parts, fmt.Sprintf("%d%% flushes", m.FlushPercent))
	}
	return strings.Join(parts, ", ")
}

func (m Mix) check() error {
	if m.WritePercent < 0 || m.WritePercent > 100 || m.FlushPercent < 0 || m.FlushPercent > 100 {
		return errors.Errorf("%d %% writes and %d %% flushes: each is 0 to 100", m.WritePercent, m.FlushPercent)
	}
	return nil
}

// Writes tells whether the mix changes the disk.
func (m Mix) Writes() bool { return m.WritePercent > 0 && m.FlushPercent < 100 }

// generator decides what the next request of a queue is.
type generator struct {
	mix     Mix
	random  *rand.PCG
	first   uint64 // sector
	blocks  uint64 // in our part of the disk
	sectors uint64 // of a block
	next    uint64 // block, when sequential
	mixed   bool   // a die must be cast for the kind
}

// newGenerator makes the generator of a queue that uses the blocks [first, first+blocks) of sectors each.
func newGenerator(m Mix, seed uint64, queue int, first, blocks, sectors uint64) generator {
	mixed := m.FlushPercent%100 != 0 || m.WritePercent%100 != 0
	return generator{
		mix: m, random: rand.NewPCG(seed, uint64(queue)), first: first * sectors, blocks: blocks, sectors: sectors, mixed: mixed,
	}
}

// draw returns the next request's kind and first sector.
func (g *generator) draw() (kind int, sector uint64) {
	kind = g.kind()
	if kind == kindFlush {
		return kind, 0
	}
	block := g.next
	if g.mix.Sequential {
		if g.next++; g.next == g.blocks {
			g.next = 0
		}
	} else {
		block, _ = bits.Mul64(g.random.Uint64(), g.blocks)
	}
	return kind, g.first + block*g.sectors
}

func (g *generator) kind() int {
	if !g.mixed {
		switch {
		case g.mix.FlushPercent > 0:
			return kindFlush
		case g.mix.WritePercent > 0:
			return kindWrite
		}
		return kindRead
	}
	dice := g.random.Uint64()
	if int(dice>>32%100) < g.mix.FlushPercent {
		return kindFlush
	}
	if int(dice&0xffffffff%100) < g.mix.WritePercent {
		return kindWrite
	}
	return kindRead
}
