package blk_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Ring formats that the tests run on.
const (
	splitRing  = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc
	packedRing = splitRing | virtio.FeatureRingPacked
)

const allFeatures = ^virtio.Features(0)

// rig is a device with its driver: a guest without a guest.
type rig struct {
	t       testing.TB
	pool    *blk.Pool
	dev     *blk.Device
	mem     *virtiotest.Memory
	table   *guestmem.Table
	drivers []*virtiotest.Driver

	header, status, data guestmem.GPA // of requests made one at a time
	failed               chan error
}

type rigOptions struct {
	pool   blk.PoolOptions
	device blk.DeviceOptions
	acked  virtio.Features // of the device; default: all that it offers, CONFIG_WCE apart
	ring   virtio.Features // default splitRing
	queues int             // default 1
	size   uint32          // of a ring, default 128
	ram    uint64          // bytes, default 64 MiB
}

// rigData is the length of the buffer of requests made one at a time.
const rigData = 4 * mib

func newRig(t testing.TB, disk blk.Disk, o rigOptions) *rig {
	t.Helper()
	if o.pool.Workers == 0 {
		o.pool.Workers = 1
	}
	if o.pool.Slots == 0 {
		o.pool.Slots = 256
	}
	pool, err := blk.NewPool(o.pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return newRigOn(t, pool, disk, o)
}

// newRigOn makes a device on a pool that has others.
func newRigOn(t testing.TB, pool *blk.Pool, disk blk.Disk, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, pool: pool, failed: make(chan error, 16)}
	if o.ring == 0 {
		o.ring = splitRing
	}
	if o.acked == 0 {
		o.acked = allFeatures &^ blk.FeatureConfigWCE
	}
	o.queues, o.size, o.ram = max(o.queues, 1), max(o.size, 128), max(o.ram, 64*mib)
	o.device.Fail = func(err error) { r.failed <- err }
	r.must(func() (err error) { r.dev, err = r.pool.NewDevice(disk, o.device); return })
	r.must(func() (err error) { r.mem, err = virtiotest.NewMemory(virtiotest.RAM(o.ram)); return })
	r.must(func() (err error) { r.table, err = r.mem.Table(); return })
	r.must(func() error { return r.dev.SetFeatures(uint64(o.acked)) })
	r.must(func() error { return r.dev.SetMemory(r.table) })
	for i := range o.queues {
		r.must(func() error {
			d, err := virtiotest.NewDriver(r.mem, virtiotest.Options{Index: i, Size: o.size, Features: o.ring, TableLen: 140})
			r.drivers = append(r.drivers, d)
			return err
		})
		r.start(i)
	}
	r.header, r.status, r.data = r.alloc(16, 16), r.alloc(1, 1), r.alloc(rigData, 4096)
	t.Cleanup(r.close)
	return r
}

func (r *rig) must(f func() error) {
	r.t.Helper()
	if err := f(); err != nil {
		r.t.Fatal(err)
	}
}

// start activates queue i as a transport would.
func (r *rig) start(i int) {
	r.t.Helper()
	q, err := r.drivers[i].Activate(r.table)
	if err != nil {
		r.t.Fatal(err)
	}
	q.SetEnabled(true)
	r.must(func() error { return r.dev.StartQueue(i, q) })
}

// startAt starts queue i again where it stopped.
func (r *rig) startAt(i int, base virtio.Base) {
	r.t.Helper()
	c, err := r.drivers[i].Config(r.table)
	if err != nil {
		r.t.Fatal(err)
	}
	c.Base = base
	r.activate(i, c)
}

func (r *rig) activate(i int, c virtio.Config) {
	r.t.Helper()
	q, err := virtio.Activate(c)
	if err != nil {
		r.t.Fatal(err)
	}
	q.SetEnabled(true)
	r.must(func() error { return r.dev.StartQueue(i, q) })
}

// restartWithKick gives queue i another kick descriptor, or none.
func (r *rig) restartWithKick(i, fd int) {
	r.t.Helper()
	base, err := r.dev.StopQueue(i)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.drivers[i].Config(r.table)
	if err != nil {
		r.t.Fatal(err)
	}
	r.must(func() error { return unix.Close(c.Kick) })
	c.Kick, c.Base = fd, base
	r.activate(i, c)
}

func (r *rig) alloc(n, align uint64) guestmem.GPA {
	r.t.Helper()
	gpa, err := r.mem.Alloc(n, align)
	if err != nil {
		r.t.Fatal(err)
	}
	return gpa
}

func (r *rig) close() {
	if err := r.dev.Close(); err != nil {
		r.t.Error(err)
	}
	r.table.Release()
	for _, d := range r.drivers {
		_ = d.Close()
	}
	if err := r.mem.Close(); err != nil {
		r.t.Error(err)
	}
}

func header(kind blk.RequestType, sector uint64) []byte {
	var h [16]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(kind))
	binary.LittleEndian.PutUint64(h[8:], sector)
	return h[:]
}

// noStatus is what a status byte holds before the device writes it.
const noStatus = 0xff

// answer is what came back of one request.
type answer struct {
	used   uint32
	status byte
	data   []byte // what the device may have written
}

// request makes one request, whose buffers it lays out simply, and waits for its end.
func (r *rig) request(q int, kind blk.RequestType, sector uint64, out []byte, in int) answer {
	r.t.Helper()
	r.mem.Write(r.header, header(kind, sector))
	req := virtiotest.Request{Readable: []virtiotest.Area{{GPA: r.header, Len: 16}}}
	if len(out) > 0 {
		r.mem.Write(r.data, out)
		req.Readable = append(req.Readable, virtiotest.Area{GPA: r.data, Len: uint32(len(out))})
	}
	if in > 0 {
		clear(r.mem.Bytes(r.data, uint64(in)))
		req.Writable = append(req.Writable, virtiotest.Area{GPA: r.data, Len: uint32(in)})
	}
	req.Writable = append(req.Writable, virtiotest.Area{GPA: r.status, Len: 1})
	r.mem.Write(r.status, []byte{noStatus})
	used := r.roundTrip(q, req)
	a := answer{used: used, status: r.mem.Bytes(r.status, 1)[0]}
	a.data = append(a.data, r.mem.Bytes(r.data, uint64(in))...)
	return a
}

// roundTrip makes a chain available and returns the used length.
func (r *rig) roundTrip(q int, req virtiotest.Request) uint32 {
	r.t.Helper()
	if _, err := r.drivers[q].Add(req); err != nil {
		r.t.Fatal(err)
	}
	return r.next(q).Len
}

// next publishes and waits for one completion.
func (r *rig) next(q int) virtiotest.Completion {
	r.t.Helper()
	c, err := r.await(q)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// await is next for other goroutines than the test's.
func (r *rig) await(q int) (virtiotest.Completion, error) {
	d := r.drivers[q]
	if _, err := d.Publish(); err != nil {
		return virtiotest.Completion{}, err
	}
	for {
		if c, ok, err := d.Reap(); ok || err != nil {
			return c, err
		}
		if d.EnableCalls() {
			continue
		}
		called, err := d.WaitCall(waitLong)
		if err != nil {
			return virtiotest.Completion{}, err
		}
		if !called {
			return virtiotest.Completion{}, fmt.Errorf("queue %d: no completion; in flight: %v", q, r.pool.Pending())
		}
	}
}

// write and read are requests that must succeed.
func (r *rig) write(q int, sector uint64, data []byte) {
	r.t.Helper()
	if a := r.request(q, blk.RequestOut, sector, data, 0); a.status != 0 || a.used != 1 {
		r.t.Fatalf("write at sector %d: status %d, used %d", sector, a.status, a.used)
	}
}

func (r *rig) read(q int, sector uint64, n int) []byte {
	r.t.Helper()
	a := r.request(q, blk.RequestIn, sector, nil, n)
	if a.status != 0 || a.used != uint32(n)+1 {
		r.t.Fatalf("read at sector %d: status %d, used %d", sector, a.status, a.used)
	}
	return a.data
}
