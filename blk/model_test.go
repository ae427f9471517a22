package blk_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// modelDisk is a case of the model test: a Disk and how it is served.
type modelDisk struct {
	name string
	open func(t *testing.T) (disk blk.Disk, path string)
	opt  blk.DeviceOptions
}

const modelSize = 4 * mib

func fileCase(name string, offsetAlign, memAlign uint32, o blk.FileOptions) modelDisk {
	return modelDisk{name: name, open: func(t *testing.T) (blk.Disk, string) {
		path := newFile(t, modelSize)
		d := openFile(t, path, o)
		if offsetAlign == 0 {
			return d, path
		}
		return unitDisk{d, offsetAlign, memAlign}, path
	}}
}

func modelDisks() []modelDisk {
	through := fileCase("write-through", 0, 0, blk.FileOptions{})
	through.opt.Cache = blk.CacheWritethrough
	return []modelDisk{
		{name: "mem", open: func(t *testing.T) (blk.Disk, string) {
			m, err := blk.NewMem(modelSize)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() })
			return m, ""
		}},
		{name: "functions", open: func(*testing.T) (blk.Disk, string) { return &goDisk{data: make([]byte, modelSize)}, "" }},
		fileCase("file", 0, 0, blk.FileOptions{}),
		fileCase("buffered", 0, 0, blk.FileOptions{Buffered: true}),
		fileCase("4096-byte units", 4096, 512, blk.FileOptions{}),
		fileCase("strict memory", 512, 4096, blk.FileOptions{}),
		through,
	}
}

// TestModel runs random requests with random framing on several queues against a Disk and against an array of bytes. The
// queues work on stripes of their own, which meet inside units of the Disk.
func TestModel(t *testing.T) {
	for _, disk := range modelDisks() {
		for _, c := range []struct {
			name            string
			ring            virtio.Features
			queues, workers int
			disable         iouring.Feature
		}{
			{"split/1", splitRing, 1, 1, 0},
			{"packed/1", packedRing, 1, 1, 0},
			{"split/4x2", splitRing | virtio.FeatureEventIdx, 4, 2, 0},
			{"packed/3x3", packedRing | virtio.FeatureEventIdx, 3, 3, 0},
			{"packed/2x2 as on Linux 5.15", packedRing | virtio.FeatureEventIdx, 2, 2, iouring.AllFeatures},
		} {
			t.Run(disk.name+"/"+c.name, func(t *testing.T) {
				d, path := disk.open(t)
				disk.opt.MaxDiscardSegs = 4
				r := newRig(t, d, rigOptions{
					ring: c.ring, queues: c.queues, device: disk.opt,
					pool: blk.PoolOptions{Workers: c.workers, Slots: 64, Ring: iouring.Options{Disable: c.disable}},
				})
				m := &model{r: r, seed: rand.Uint64(), want: make([]byte, modelSize)}
				t.Logf("seed %#x", m.seed)
				done := make(chan error, c.queues)
				for range c.queues {
					m.alloc()
				}
				for q := range c.queues {
					go func() { done <- m.run(q, c.queues, 400) }()
				}
				for range c.queues {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				m.compare(path)
			})
		}
	}
}

// model is the array of bytes that a Disk must equal.
type model struct {
	r     *rig
	seed  uint64
	want  []byte
	areas []guestmem.GPA // by queue

	barriers bool         // some requests have the flag
	fenced   atomic.Int64 // those that had it
}

const modelArea = 512 * kib

func (m *model) alloc() { m.areas = append(m.areas, m.r.alloc(modelArea, 4096)) }

// run makes n requests on queue q, one at a time, on sectors whose number modulo stripes is q, or on runs of them when
// the queue is alone.
func (m *model) run(q, stripes, n int) error {
	rnd := rand.New(rand.NewPCG(m.seed, uint64(q)))
	for i := range n {
		if err := m.step(rnd, q, stripes); err != nil {
			return fmt.Errorf("queue %d, request %d: %w", q, i, err)
		}
	}
	return nil
}

func (m *model) step(rnd *rand.Rand, q, stripes int) error {
	sectors := 1
	sector := rnd.IntN(modelSize/512/stripes)*stripes + q
	if stripes == 1 {
		sectors = min(1+rnd.IntN(1<<rnd.IntN(10)), modelSize/512-sector)
	}
	part := m.want[sector*512 : (sector+sectors)*512]
	switch rnd.IntN(10) {
	case 0:
		return m.expect(q, rnd, blk.RequestFlush, 0, nil, nil)
	case 1:
		clear(part)
		return m.expect(q, rnd, blk.RequestWriteZeroes, 0, segment(uint64(sector), uint32(sectors), uint32(rnd.IntN(2))), nil)
	case 2, 3, 4, 5:
		for i := range part {
			part[i] = byte(rnd.Uint32())
		}
		return m.expect(q, rnd, blk.RequestOut, uint64(sector), part, nil)
	}
	return m.expect(q, rnd, blk.RequestIn, uint64(sector), nil, part)
}

// expect makes a request with random framing and compares what it read.
func (m *model) expect(q int, rnd *rand.Rand, kind blk.RequestType, sector uint64, out, in []byte) error {
	at := m.areas[q] + guestmem.GPA(rnd.IntN(600))
	ram, d := m.r.mem, m.r.drivers[q]
	readable := append(header(kind, sector), out...)
	if m.barriers && rnd.IntN(10) == 0 {
		readable = append(header(kind|barrier, sector), out...)
		m.fenced.Add(1)
	}
	ram.Write(at, readable)
	back := at + guestmem.GPA(len(readable)+rnd.IntN(600))
	clear(ram.Bytes(back, uint64(len(in))))
	ram.Write(back+guestmem.GPA(len(in)), []byte{noStatus})
	req := virtiotest.Request{
		Readable: areas(at, uint32(len(readable)), cuts(rnd, len(readable))),
		Writable: areas(back, uint32(len(in)+1), cuts(rnd, len(in)+1)),
		Indirect: rnd.IntN(2) == 0,
	}
	if _, err := d.Add(req); err != nil {
		return err
	}
	c, err := m.r.await(q)
	if err != nil {
		return err
	}
	got := ram.Bytes(back, uint64(len(in)+1))
	switch {
	case got[len(in)] != 0 || int(c.Len) != len(in)+1:
		return fmt.Errorf("%v at sector %d: status %d, used %d of %d", kind, sector, got[len(in)], c.Len, len(in)+1)
	case !bytes.Equal(got[:len(in)], in):
		return fmt.Errorf("%v of %d bytes at sector %d: content differs", kind, len(in), sector)
	}
	return nil
}

func cuts(rnd *rand.Rand, n int) []uint32 {
	var list []uint32
	for range rnd.IntN(8) {
		c := 1 + rnd.IntN(n)
		if rnd.IntN(2) == 0 {
			c = max(c&^511, 1)
		}
		list = append(list, uint32(c))
	}
	return list
}

// compare reads everything back through the device, and from the file behind it.
func (m *model) compare(path string) {
	m.r.t.Helper()
	for at := 0; at < modelSize; at += mib {
		if !bytes.Equal(m.r.read(0, uint64(at/512), mib), m.want[at:at+mib]) {
			m.r.t.Fatalf("content differs after byte %d", at)
		}
	}
	if path == "" {
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		m.r.t.Fatal(err)
	}
	if !bytes.Equal(got, m.want) {
		m.r.t.Fatal("the file's content differs")
	}
}
