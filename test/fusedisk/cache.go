package fusedisk

import (
	"math/rand/v2"
	"slices"
)

// SectorSize is what is written wholly or not at all.
const SectorSize = 512

// cache is a medium with a volatile write cache. Not for concurrent use.
type cache struct {
	stable   []byte
	latest   []byte               // what is read
	volatile map[uint64][]version // by sector, oldest first
	arrived  uint64               // writes
}

// version is what a sector would hold if this write of it became stable and no later one.
type version struct {
	write uint64
	data  []byte
}

func newCache(size int64) *cache {
	return &cache{stable: make([]byte, size), latest: make([]byte, size), volatile: map[uint64][]version{}}
}

// write takes whole sectors.
func (c *cache) write(data []byte, off uint64) {
	c.arrived++
	data = slices.Clone(data)
	copy(c.latest[off:], data)
	for s := off / SectorSize; len(data) > 0; s++ {
		c.volatile[s] = append(c.volatile[s], version{write: c.arrived, data: data[:SectorSize:SectorSize]})
		data = data[SectorSize:]
	}
}

// sync makes the first so many writes stable.
func (c *cache) sync(arrived uint64) {
	for s, versions := range c.volatile {
		n := 0
		for n < len(versions) && versions[n].write <= arrived {
			n++
		}
		c.keep(s, versions, n)
	}
}

// keep makes the first n versions of a sector stable.
func (c *cache) keep(sector uint64, versions []version, n int) {
	if n > 0 {
		copy(c.stable[sector*SectorSize:], versions[n-1].data)
	}
	if n == len(versions) {
		delete(c.volatile, sector)
		return
	}
	c.volatile[sector] = versions[n:]
}

// cut loses what is not stable, but for some sectors that were written in time: luck is their share. Of several writes of
// a sector any may be the last that was. It returns the number of sectors that hold less than was written.
func (c *cache) cut(luck float64, r *rand.Rand) (lost int) {
	sectors := make([]uint64, 0, len(c.volatile))
	for s := range c.volatile {
		sectors = append(sectors, s)
	}
	slices.Sort(sectors) // so that a seed has the same effect again
	for _, s := range sectors {
		versions := c.volatile[s]
		n := 0
		if r.Float64() < luck {
			n = 1 + r.IntN(len(versions))
		}
		if n < len(versions) {
			lost++
		}
		c.keep(s, versions, n)
	}
	clear(c.volatile)
	copy(c.latest, c.stable)
	return lost
}
