package durability

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/vublk/vublk/blk"
)

// Bounds of what is tried at one cut.
const (
	allSubsets  = 8  // of up to so many writes that are not stable, all subsets
	someSubsets = 48 // of more, random ones besides none, all, and all but or only one or two
	tornSubsets = 12 // besides, random sectors of them
)

// verdict is what a check found.
type verdict struct {
	cuts, subsets int
	losses        int      // subsets after which something promised was gone
	wrong         int      // answers that were not true
	notes         []string // the first few, in words
}

func (v *verdict) note(format string, args ...any) {
	if len(v.notes) < 5 {
		v.notes = append(v.notes, fmt.Sprintf(format, args...))
	}
}

func (v *verdict) add(o verdict) {
	v.cuts += o.cuts
	v.subsets += o.subsets
	v.losses += o.losses
	v.wrong += o.wrong
	for _, n := range o.notes {
		v.note("%s", n)
	}
}

// checker cuts the power in one run's past.
type checker struct {
	verdict
	rnd      *rand.Rand
	events   []*event // modifications, in the order of their ends
	boundary []uint64 // ticks of the Disk's calls, both ends
	history  *history
	promised []uint64
	sectors  [][]*op

	// Of one cut:
	at      uint64
	base    []content   // what is stable
	order   []int       // by sector, the index of the event that made it so; -1
	loose   []int       // events that may or may not be on the medium
	allowed [][]content // by sector, what it may hold
}

// check cuts at every boundary of a call of the Disk, and looks whether the answers were true.
func check(h *history, events []*event, sectors int, rnd *rand.Rand) verdict {
	c := &checker{
		rnd: rnd, history: h, promised: h.promised(), sectors: h.bySector(sectors),
		base: make([]content, sectors), order: make([]int, sectors), allowed: make([][]content, sectors),
	}
	for _, e := range events {
		c.boundary = append(c.boundary, e.begin)
		if e.end != 0 {
			c.boundary = append(c.boundary, e.end)
		}
		if e.modifies() {
			c.events = append(c.events, e)
		}
	}
	slices.SortFunc(c.events, byEnd)
	c.boundary = append(c.boundary, ^uint64(0)) // after everything
	for _, tick := range c.boundary {
		c.cut(tick - 1)
	}
	c.checkAnswers()
	c.checkSticky()
	return c.verdict
}

// byEnd orders events by their ends; those without one are last.
func byEnd(a, b *event) int {
	switch {
	case a.end-1 < b.end-1:
		return -1
	case a.end-1 > b.end-1:
		return 1
	}
	return 0
}

// cut tries what may be on the medium when the power goes after tick at.
func (c *checker) cut(at uint64) {
	c.cuts++
	c.at = at
	c.findStable()
	c.findAllowed()
	n := len(c.loose)
	keep := make([]bool, n)
	if n <= allSubsets {
		for bits := range 1 << n {
			for i := range keep {
				keep[i] = bits>>i&1 != 0
			}
			c.try(keep, false)
		}
	} else {
		c.trySome(keep)
	}
	if n == 0 {
		return
	}
	for range tornSubsets {
		c.shuffle(keep, 4)
		c.try(keep, true)
	}
}

// trySome tries none, all, those and all but those of each one or two, and random ones.
func (c *checker) trySome(keep []bool) {
	for _, base := range []bool{false, true} {
		for i := range keep {
			for j := 0; j <= i; j++ { // i == j: only one
				for k := range keep {
					keep[k] = base != (k == i || k == j)
				}
				c.try(keep, false)
			}
		}
		for k := range keep {
			keep[k] = base
		}
		c.try(keep, false)
	}
	for range someSubsets {
		c.shuffle(keep, 2)
		c.try(keep, false)
	}
}

// shuffle keeps all but one in n.
func (c *checker) shuffle(keep []bool, n int) {
	for i := range keep {
		keep[i] = c.rnd.IntN(n) != 0
	}
}

// findStable makes the image of what the Disk had made stable, and lists what it had begun and not made stable, unless
// nothing of it can be seen any more.
func (c *checker) findStable() {
	clear(c.base)
	for s := range c.order {
		c.order[s] = -1
	}
	for i, e := range c.events {
		if e.stable != 0 && e.stable <= c.at {
			copy(c.base[e.first:], e.put)
			for s := range e.put {
				c.order[e.first+s] = i
			}
		}
	}
	c.loose = c.loose[:0]
	for i, e := range c.events {
		if e.begin > c.at || e.stable != 0 && e.stable <= c.at {
			continue
		}
		for s := range e.put {
			if c.order[e.first+s] < i {
				c.loose = append(c.loose, i)
				break
			}
		}
	}
}

// findAllowed lists what each sector may hold: what was promised last, and everything that was asked for later.
func (c *checker) findAllowed() {
	for s, ops := range c.sectors {
		list := append(c.allowed[s][:0], zeroed)
		for _, o := range ops {
			if o.submitted > c.at {
				break
			}
			if p := c.promised[o.index]; p != 0 && p <= c.at {
				list = list[:0]
			}
			list = append(list, o.content)
		}
		c.allowed[s] = list
	}
}

// try looks at the medium with the loose events that are kept on it, whole or with some of their sectors.
func (c *checker) try(keep []bool, torn bool) {
	c.subsets++
	image := slices.Clone(c.base)
	for k, i := range c.loose {
		if !keep[k] {
			continue
		}
		e := c.events[i]
		for s, put := range e.put {
			if at := e.first + s; c.order[at] < i && (!torn || c.rnd.IntN(2) == 0) {
				image[at] = put
			}
		}
	}
	for s, got := range image {
		if slices.Contains(c.allowed[s], got) {
			continue
		}
		c.losses++
		c.note("cut after tick %d: sector %d holds %#x, allowed is %#x; last promised: %v", c.at, s, uint64(got), c.allowed[s], c.lastPromised(s))
		return
	}
}

func (c *checker) lastPromised(sector int) *op {
	var last *op
	for _, o := range c.sectors[sector] {
		if p := c.promised[o.index]; p != 0 && p <= c.at {
			last = o
		}
	}
	return last
}

// checkAnswers looks whether all that was answered OK was done on the Disk, in full and in time, and whether each failure
// was told.
func (c *checker) checkAnswers() {
	for _, o := range c.history.ops {
		if !o.modifies() || !o.ok() {
			continue
		}
		for s := o.first; s < o.first+o.sectors; s++ {
			if !c.done(o, s) {
				c.wrong++
				c.note("answered OK and not done: sector %d of %v", s, o)
				break
			}
		}
	}
}

// done tells whether sector s of o was stored by a call that was made, and returned without an error, for o. Nobody else
// modifies the sector meanwhile.
func (c *checker) done(o *op, s int) bool {
	for _, e := range c.events {
		inTime := e.begin > o.submitted && e.end != 0 && e.end < o.completed
		if i := s - e.first; inTime && !e.failed && i >= 0 && i < len(e.put) && e.put[i] == o.content {
			return true
		}
	}
	return false
}

// checkSticky: once a FLUSH was answered IOERR, all that come later are.
func (c *checker) checkSticky() {
	broken := ^uint64(0)
	for _, o := range c.history.ops {
		if o.kind == blk.RequestFlush && o.completed != 0 && o.status != statusOK {
			broken = min(broken, o.completed)
		}
	}
	for _, o := range c.history.ops {
		if o.kind == blk.RequestFlush && o.ok() && o.submitted > broken {
			c.wrong++
			c.note("answered OK after tick %d, when a FLUSH had failed: %v", broken, o)
		}
	}
}
