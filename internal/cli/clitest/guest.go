package clitest

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// The requests of virtio-blk that a Guest makes (virtio-v1.3 5.2.6).
const (
	In    = 0 // VIRTIO_BLK_T_IN
	Out   = 1 // VIRTIO_BLK_T_OUT
	Flush = 4 // VIRTIO_BLK_T_FLUSH
)

// Status bytes.
const (
	StatusOK    = 0 // VIRTIO_BLK_S_OK
	StatusIOErr = 1 // VIRTIO_BLK_S_IOERR
)

// Room is how many bytes one request of a Guest may carry.
const Room = 1 << 20

// Guest is a front-end with a driver that makes one block request at a time. Errors end the test.
type Guest struct {
	*vhostusertest.Frontend
	t                    *testing.T
	header, status, data guestmem.GPA
}

// Dial connects to the socket at path and says what makes a front-end of whoever connects: the first word.
func Dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(vhostusertest.Message{Request: vhostuser.RequestSetOwner, Flags: vhostusertest.FlagVersion}.Bytes()); err != nil {
		t.Fatal(err)
	}
	return c
}

// Attach connects to the socket at path and starts all queues. The end of the test disconnects.
func Attach(t *testing.T, path string, o vhostusertest.Options) *Guest {
	t.Helper()
	c, err := vhostusertest.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	return AttachTo(t, c, o)
}

// AttachTo is Attach on a connection that is there.
func AttachTo(t *testing.T, c *vhostusertest.Conn, o vhostusertest.Options) *Guest {
	t.Helper()
	f, err := vhostusertest.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &Guest{Frontend: f, t: t}
	g.header, g.status, g.data = g.alloc(16, 16), g.alloc(1, 1), g.alloc(Room, 4096)
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *Guest) alloc(n, align uint64) guestmem.GPA {
	g.t.Helper()
	gpa, err := g.Memory().Alloc(n, align)
	if err != nil {
		g.t.Fatal(err)
	}
	return gpa
}

// Submit makes a request on queue q available: data is written, or, for In, as much is read.
func (g *Guest) Submit(q int, kind uint32, sector uint64, data []byte) {
	g.t.Helper()
	var h [16]byte
	binary.LittleEndian.PutUint32(h[0:], kind)
	binary.LittleEndian.PutUint64(h[8:], sector)
	g.Memory().Write(g.header, h[:])
	g.Memory().Write(g.status, []byte{0xff})
	g.Memory().Write(g.data, data)
	r := virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: g.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: g.status, Len: 1}},
	}
	payload := virtiotest.Area{GPA: g.data, Len: uint32(len(data))}
	switch {
	case len(data) == 0:
	case kind == In:
		r.Writable = append([]virtiotest.Area{payload}, r.Writable...)
	default:
		r.Readable = append(r.Readable, payload)
	}
	if _, err := g.Queue(q).Add(r); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.Queue(q).Publish(); err != nil {
		g.t.Fatal(err)
	}
}

// WantPending fails the test, which says what is wrong then, when the request on queue q ends within d.
func (g *Guest) WantPending(q int, d time.Duration, wrong string) {
	g.t.Helper()
	if status, ok := g.Done(q, d); ok {
		g.t.Fatalf("%s: status %d", wrong, status)
	}
}

// WantDone fails the test, which says what is wrong then, unless the request on queue q ends well.
func (g *Guest) WantDone(q int, wrong string) {
	g.t.Helper()
	if status, ok := g.Done(q, Patience); !ok || status != StatusOK {
		g.t.Fatalf("%s: done %v, status %d", wrong, ok, status)
	}
}

// Done waits for the request on queue q for at most patience, and returns its status byte; ok is false when it has not
// ended.
func (g *Guest) Done(q int, patience time.Duration) (status byte, ok bool) {
	g.t.Helper()
	d := g.Queue(q)
	for deadline := time.Now().Add(patience); ; {
		_, ok, err := d.Reap()
		if err != nil {
			g.t.Fatal(err)
		}
		if ok {
			var s [1]byte
			g.Memory().Read(g.status, s[:])
			return s[0], true
		}
		if d.EnableCalls() {
			continue
		}
		left := time.Until(deadline)
		if left <= 0 {
			return 0, false
		}
		if _, err := d.WaitCall(left); err != nil {
			g.t.Fatal(err)
		}
	}
}

// Do makes a request on queue q and returns its status byte.
func (g *Guest) Do(q int, kind uint32, sector uint64, data []byte) byte {
	g.t.Helper()
	g.Submit(q, kind, sector, data)
	status, ok := g.Done(q, Patience)
	if !ok {
		g.t.Fatalf("request %d at sector %d does not end", kind, sector)
	}
	if kind == In {
		g.Memory().Read(g.data, data)
	}
	return status
}
