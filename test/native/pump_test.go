package native

import (
	"encoding/binary"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	headerSize = 16
	statusOpen = 0xff
	patience   = 20 * time.Second
)

// job is one read or write.
type job struct {
	kind   blk.RequestType // IN or OUT
	sector uint64
	size   int
}

// script decides what a pump does.
type script interface {
	// next returns the next job of a slot; false: the slot is done.
	next(slot int) (job, bool)
	// fill makes the data of a write.
	fill(slot int, j job, data []byte)
	// done looks at a job that has succeeded; data is what a read brought and nil for a write.
	done(slot int, j job, data []byte) error
}

// pump keeps the slots of one queue busy, each with one job at a time. It sleeps while it waits.
type pump struct {
	driver  *virtiotest.Driver
	slots   []slot
	byID    []int
	scratch []byte // the data of one job
}

// slot is one request in flight with its memory.
type slot struct {
	cell   []byte // header, status
	header virtiotest.Area
	status virtiotest.Area
	room   guestmem.GPA // for the buffer
	buffer buffer
	layout layout
	job    job
}

// newPump takes guest memory for depth slots whose jobs have up to size bytes.
func newPump(d *virtiotest.Driver, depth, size int) (*pump, error) {
	p := &pump{driver: d, slots: make([]slot, depth), byID: make([]int, d.Size()), scratch: make([]byte, size)}
	for i := range p.slots {
		s := &p.slots[i]
		cell, err := d.Memory().Alloc(headerSize+1, 32)
		if err != nil {
			return nil, err
		}
		s.cell = d.Memory().Bytes(cell, headerSize+1)
		s.header = virtiotest.Area{GPA: cell, Len: headerSize}
		s.status = virtiotest.Area{GPA: cell + headerSize, Len: 1}
		if s.room, err = d.Memory().Alloc(room(size), pageSize); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// lay decides how slot i has its data in memory.
func (p *pump) lay(i int, l layout) {
	p.slots[i].layout, p.slots[i].buffer = l, buffer{}
}

// run works through a script with the first depth slots.
func (p *pump) run(depth int, s script) error {
	p.driver.DisableCalls()
	for i := range depth {
		if err := p.issue(i, s); err != nil {
			return err
		}
	}
	for p.driver.Outstanding() > 0 {
		if _, err := p.driver.Publish(); err != nil {
			return err
		}
		c, err := p.wait()
		for ok := true; ok && err == nil; {
			if err = p.complete(c, s); err == nil {
				c, ok, err = p.driver.Reap()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// issue adds the next job of slot i, if it has one.
func (p *pump) issue(i int, s script) error {
	j, ok := s.next(i)
	if !ok {
		return nil
	}
	slot := &p.slots[i]
	if slot.buffer.areas == nil || slot.job.size != j.size {
		slot.buffer = newBuffer(p.driver.Memory(), slot.room, slot.layout, j.size)
	}
	slot.job = j
	binary.LittleEndian.PutUint64(slot.cell, uint64(j.kind))
	binary.LittleEndian.PutUint64(slot.cell[8:], j.sector)
	slot.cell[headerSize] = statusOpen
	r := virtiotest.Request{Readable: []virtiotest.Area{slot.header}}
	if j.kind == blk.RequestOut {
		data := p.scratch[:j.size]
		s.fill(i, j, data)
		slot.buffer.scatter(data)
		r.Readable = append(r.Readable, slot.buffer.areas...)
	} else {
		r.Writable = append(r.Writable, slot.buffer.areas...)
	}
	r.Writable = append(r.Writable, slot.status)
	id, err := p.driver.Add(r)
	if err != nil {
		return err
	}
	p.byID[id] = i
	return nil
}

// complete checks what came back and goes on with the slot.
func (p *pump) complete(c virtiotest.Completion, s script) error {
	i := p.byID[c.ID]
	slot := &p.slots[i]
	j := slot.job
	written := uint32(1) // the status
	var data []byte
	if j.kind == blk.RequestIn {
		written += uint32(j.size)
		data = p.scratch[:j.size]
		slot.buffer.gather(data)
	}
	status := slot.cell[headerSize]
	err := slot.buffer.intact()
	switch {
	case status != 0 || c.Len != written:
		err = errors.Errorf("status %d, %d bytes written, want 0 and %d", status, c.Len, written)
	case err == nil:
		err = s.done(i, j, data)
	}
	if err != nil {
		return errors.Wrapf(err, "%v of %d bytes at sector %d (%s)", j.kind, j.size, j.sector, slot.layout.name)
	}
	return p.issue(i, s)
}

// wait returns the next completion.
func (p *pump) wait() (virtiotest.Completion, error) {
	defer p.driver.DisableCalls()
	for begin := time.Now(); ; {
		c, ok, err := p.driver.Reap()
		if ok || err != nil {
			return c, err
		}
		left := patience - time.Since(begin)
		if left <= 0 {
			return c, errors.Errorf("no completion for %v, %d requests in flight", patience, p.driver.Outstanding())
		}
		if !p.driver.EnableCalls() {
			if _, err := p.driver.WaitCall(left); err != nil {
				return c, err
			}
		}
	}
}
