package durability

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Sizes of a run: small, so that requests meet.
const (
	diskSectors = 48
	maxSectors  = 6 // of one request
	depth       = 12
	ringSize    = 64
	stride      = 8192 // of the memory of a request
	headerSize  = 16
)

// Flag and field of requests (virtio-v1.3 5.2.6); the first is legacy.
const (
	barrierFlag  blk.RequestType = 1 << 31
	segmentUnmap                 = 1
	segmentSize                  = 16
)

// guest is a device and its driver's side: memory, and queues without anybody on them.
type guest struct {
	pool    *blk.Pool
	dev     *blk.Device
	mem     *virtiotest.Memory
	table   *guestmem.Table
	drivers []*virtiotest.Driver
	area    guestmem.GPA
}

func newGuest(d blk.Disk, c config) (g *guest, err error) {
	g = &guest{}
	defer func() {
		if err != nil {
			_ = g.close()
		}
	}()
	off, err := blk.ParsePoll("off")
	if err != nil {
		return g, err
	}
	if g.pool, err = blk.NewPool(blk.PoolOptions{Workers: c.workers, Slots: 64, Poll: off}); err != nil {
		return g, err
	}
	if g.dev, err = g.pool.NewDevice(d, blk.DeviceOptions{
		NumQueues: c.queues, Cache: c.mode.cache, ConfigWCE: c.mode.toggles, FlushError: c.flushError, MaxDiscardSegs: 4,
	}); err != nil {
		return g, err
	}
	if g.mem, err = virtiotest.NewMemory(virtiotest.RAM(1 << 20)); err != nil {
		return g, err
	}
	if g.table, err = g.mem.Table(); err != nil {
		return g, err
	}
	if err = g.dev.SetFeatures(g.dev.Features() &^ uint64(c.mode.refuses)); err != nil {
		return g, err
	}
	if err = g.dev.SetMemory(g.table); err != nil {
		return g, err
	}
	if g.area, err = g.mem.Alloc(depth*stride, 4096); err != nil {
		return g, err
	}
	for i := range c.queues {
		if err = g.startQueue(i, c); err != nil {
			return g, err
		}
	}
	return g, nil
}

func (g *guest) startQueue(i int, c config) error {
	features := virtio.FeatureVersion1 | virtio.FeatureIndirectDesc
	if c.packed {
		features |= virtio.FeatureRingPacked
	}
	d, err := virtiotest.NewDriver(g.mem, virtiotest.Options{Index: i, Size: ringSize, Features: features})
	if err != nil {
		return err
	}
	g.drivers = append(g.drivers, d)
	d.DisableCalls()
	q, err := d.Activate(g.table)
	if err != nil {
		return err
	}
	q.SetEnabled(true)
	return g.dev.StartQueue(i, q)
}

// close ends the device. Nothing must be held back any more.
func (g *guest) close() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if g.dev != nil {
		keep(g.dev.Close())
	}
	if g.pool != nil {
		keep(g.pool.Close())
	}
	if g.table != nil {
		g.table.Release()
	}
	for _, d := range g.drivers {
		keep(d.Close())
	}
	if g.mem != nil {
		keep(g.mem.Close())
	}
	return first
}

// chain lays a request out in place number slot: header, data, status.
func (g *guest) chain(o *op, slot int, indirect bool) (virtiotest.Request, error) {
	at := g.area + guestmem.GPA(slot*stride)
	var header [headerSize]byte
	kind := o.kind
	if o.barrier {
		kind |= barrierFlag
	}
	binary.LittleEndian.PutUint32(header[0:], uint32(kind))
	binary.LittleEndian.PutUint64(header[8:], uint64(o.first))
	data := g.data(slot, o)
	r := virtiotest.Request{Indirect: indirect, Readable: []virtiotest.Area{{GPA: at, Len: headerSize}}}
	area := virtiotest.Area{GPA: at + stride/2, Len: uint32(len(data))}
	switch o.kind {
	case blk.RequestOut:
		o.content.fill(data)
		r.Readable = append(r.Readable, area)
	case blk.RequestIn:
		garbage.fill(data)
		r.Writable = append(r.Writable, area)
	case blk.RequestDiscard, blk.RequestWriteZeroes:
		binary.LittleEndian.PutUint64(header[8:], 0)
		area.Len = uint32(fillSegments(data, o))
		r.Readable = append(r.Readable, area)
	}
	status := at + headerSize
	r.Writable = append(r.Writable, virtiotest.Area{GPA: status, Len: 1})
	if g.mem.Write(at, header[:]) != headerSize || g.mem.Write(status, []byte{noStatus}) != 1 {
		return r, errors.New("guest memory ends too early")
	}
	return r, nil
}

// fillSegments divides o's range into its segments (struct virtio_blk_discard_write_zeroes).
func fillSegments(p []byte, o *op) (n int) {
	at, end := o.first, o.first+o.sectors
	for i := range o.segments {
		sectors := (end - at) / (o.segments - i)
		binary.LittleEndian.PutUint64(p[n:], uint64(at))
		binary.LittleEndian.PutUint32(p[n+8:], uint32(sectors))
		flags := uint32(0)
		if o.unmap {
			flags = segmentUnmap
		}
		binary.LittleEndian.PutUint32(p[n+12:], flags)
		at += sectors
		n += segmentSize
	}
	return n
}

func (g *guest) data(slot int, o *op) []byte {
	return g.mem.Bytes(g.area+guestmem.GPA(slot*stride+stride/2), uint64(o.sectors)*sectorSize)
}

func (g *guest) status(slot int) byte {
	return g.mem.Bytes(g.area+guestmem.GPA(slot*stride+headerSize), 1)[0]
}
