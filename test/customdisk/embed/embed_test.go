// Package embed_test is what a stranger's module may do with the public packages: a Disk of its own, a blk.Device on it and a
// vhostuser.Session that drives the device, with vublk's front-end for tests in the part of QEMU.
package embed_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/iouring"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// A blk.Device is what a session drives; a File, Mem and Null are Disks that come with it.
var (
	_ vhostuser.Device = (*blk.Device)(nil)
	_ blk.RingDisk     = (*blk.FileDisk)(nil)
	_ blk.InlineDisk   = (*blk.Mem)(nil)
	_ blk.FuncDisk     = (*mapDisk)(nil)
)

const size = 1 << 20

// mapDisk keeps the sectors that were ever written.
type mapDisk struct {
	mu      sync.Mutex
	sectors map[int64][blk.SectorSize]byte
	flushes int
}

func (d *mapDisk) Info() blk.DiskInfo {
	return blk.DiskInfo{Name: "map", Size: size, VolatileCache: true}
}

func (d *mapDisk) Close() error { return nil }

func (d *mapDisk) ReadAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; len(p) > 0; off, p = off+blk.SectorSize, p[blk.SectorSize:] {
		s := d.sectors[off]
		copy(p, s[:])
	}
	return nil
}

func (d *mapDisk) WriteAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; len(p) > 0; off, p = off+blk.SectorSize, p[blk.SectorSize:] {
		d.sectors[off] = [blk.SectorSize]byte(p)
	}
	return nil
}

func (d *mapDisk) Flush(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	return nil
}

func (d *mapDisk) Zero(_ context.Context, off, n int64, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for end := off + n; off < end; off += blk.SectorSize {
		delete(d.sectors, off)
	}
	return nil
}

// driver makes one request at a time, as a guest's virtio-blk does.
type driver struct {
	t      *testing.T
	memory *virtiotest.Memory
	queue  *virtiotest.Driver
	header guestmem.GPA // and the status behind it
	data   guestmem.GPA
}

func newDriver(t *testing.T, front *vhostusertest.Frontend) *driver {
	t.Helper()
	d := &driver{t: t, memory: front.Memory(), queue: front.Queue(0)}
	for _, to := range []*guestmem.GPA{&d.header, &d.data} {
		var err error
		if *to, err = d.memory.Alloc(4096, 4096); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// do makes a request and returns its status; data is written, or filled by a read.
func (d *driver) do(kind blk.RequestType, sector uint64, data []byte) byte {
	d.t.Helper()
	var header [17]byte
	binary.LittleEndian.PutUint32(header[0:], uint32(kind))
	binary.LittleEndian.PutUint64(header[8:], sector)
	header[16] = 0xff
	d.memory.Write(d.header, header[:])
	d.memory.Write(d.data, data)
	r := virtiotest.Request{Readable: []virtiotest.Area{{GPA: d.header, Len: 16}}}
	payload := virtiotest.Area{GPA: d.data, Len: uint32(len(data))}
	switch {
	case len(data) == 0:
	case kind == blk.RequestIn:
		r.Writable = append(r.Writable, payload)
	default:
		r.Readable = append(r.Readable, payload)
	}
	r.Writable = append(r.Writable, virtiotest.Area{GPA: d.header + 16, Len: 1})
	if _, err := d.queue.Add(r); err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.queue.Publish(); err != nil {
		d.t.Fatal(err)
	}
	for {
		_, done, err := d.queue.Reap()
		if err != nil {
			d.t.Fatal(err)
		}
		if done {
			break
		}
		if d.queue.EnableCalls() {
			continue
		}
		if called, err := d.queue.WaitCall(20 * time.Second); err != nil || !called {
			d.t.Fatalf("the request does not end: %v", err)
		}
	}
	if kind == blk.RequestIn {
		d.memory.Read(d.data, data)
	}
	d.memory.Read(d.header, header[:])
	return header[16]
}

// end closes what a test has made, in the order given.
func end(t *testing.T, parts ...io.Closer) {
	t.Helper()
	for _, p := range parts {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskDeviceSession(t *testing.T) {
	disk := &mapDisk{sectors: map[int64][blk.SectorSize]byte{}}
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Poll: blk.PollAuto, Ring: iouring.Options{Entries: 64}})
	if err != nil {
		t.Fatal(err)
	}
	device, err := pool.NewDevice(disk, blk.DeviceOptions{NumQueues: 4})
	if err != nil {
		t.Fatal(err)
	}
	conn, sock, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	session := vhostuser.NewSession(sock, device, vhostuser.Options{Queues: 4})
	ended := make(chan error, 1)
	go func() { ended <- session.Serve(t.Context()) }()

	front, err := vhostusertest.New(conn, vhostusertest.Options{Packed: true})
	if err != nil {
		t.Fatal(err)
	}
	if f := front.Features(); !f.Has(virtio.FeatureVersion1 | virtio.FeatureRingPacked | blk.FeatureFlush) {
		t.Errorf("negotiated %v", f)
	}
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, front)
	want, got := bytes.Repeat([]byte("a stranger's disk "), 256)[:4096], make([]byte, 4096)
	if w, f := d.do(blk.RequestOut, 8, want), d.do(blk.RequestFlush, 0, nil); w != 0 || f != 0 || disk.flushes != 1 {
		t.Errorf("write %d, flush %d, flushed %d times", w, f, disk.flushes)
	}
	if r := d.do(blk.RequestIn, 8, got); r != 0 || !bytes.Equal(got, want) {
		t.Errorf("read %d, or other data", r)
	}
	if r := d.do(blk.RequestIn, size/blk.SectorSize, got); r != 1 {
		t.Errorf("read behind the end: status %d", r)
	}
	if len(disk.sectors) != 8 {
		t.Errorf("%d sectors kept, want 8", len(disk.sectors))
	}

	if err := front.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("session: %v", err)
	}
	end(t, device, pool)
}

// TestErrorsAreTyped: what a front-end does wrong has a type.
func TestErrorsAreTyped(t *testing.T) {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	device, err := pool.NewDevice(blk.NewNull(size), blk.DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conn, sock, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	session := vhostuser.NewSession(sock, device, vhostuser.Options{})
	ended := make(chan error, 1)
	go func() { ended <- session.Serve(t.Context()) }()
	if err := conn.SendRaw(make([]byte, 12)); err != nil { // version 0
		t.Fatal(err)
	}
	var protocol *vhostuser.ProtocolError
	if err := <-ended; !errors.As(err, &protocol) {
		t.Errorf("session: %v", err)
	}
	end(t, conn, device, pool)
}
