package fusedisk

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	featureFlush virtio.Features = 1 << 9  // VIRTIO_BLK_F_FLUSH
	featureWCE   virtio.Features = 1 << 11 // VIRTIO_BLK_F_CONFIG_WCE

	configWriteback = 32 // offset of writeback in virtio_blk_config

	statusOK   = 0
	statusOpen = 0xff
	headerSize = 16
	room       = 16 << 10 // bytes of data that a request may carry

	patience = 20 * time.Second
	glance   = 10 * time.Millisecond // between looks at whether the back-end is dead
)

// errDead tells that a back-end was killed.
var errDead = errors.New("the back-end is dead")

// machine is a front-end with queues that each make one request at a time.
type machine struct {
	*vhostusertest.Frontend
	queues []*queue
	dead   atomic.Bool
}

// queue belongs to one goroutine.
type queue struct {
	driver *virtiotest.Driver
	dead   *atomic.Bool
	cell   []byte // header, status
	data   []byte
	areas  [3]virtiotest.Area // header, data, status
}

// connect starts a machine. close ends it.
func connect(t *testing.T, socket string, queues int, decline virtio.Features) *machine {
	t.Helper()
	f, err := vhostusertest.Connect(socket, vhostusertest.Options{
		Queues: queues, QueueSize: 16, Decline: decline, Memory: []guestmem.RegionInfo{virtiotest.RAM(4 * mib)},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{Frontend: f}
	t.Cleanup(func() { m.close(t) })
	for i := range queues {
		q := &queue{driver: f.Queue(i), dead: &m.dead}
		cell, err := f.Memory().Alloc(headerSize+1, 32)
		if err != nil {
			t.Fatal(err)
		}
		data, err := f.Memory().Alloc(room, 4096)
		if err != nil {
			t.Fatal(err)
		}
		q.cell, q.data = f.Memory().Bytes(cell, headerSize+1), f.Memory().Bytes(data, room)
		q.areas = [3]virtiotest.Area{{GPA: cell, Len: headerSize}, {GPA: data}, {GPA: cell + headerSize, Len: 1}}
		m.queues = append(m.queues, q)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// close disconnects. Called again it does nothing.
func (m *machine) close(t *testing.T) {
	t.Helper()
	if m.Frontend != nil {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		m.Frontend = nil
	}
}

// submit makes a request available; what is written is in q.data already.
func (q *queue) submit(kind blk.RequestType, sector uint64, n int) error {
	binary.LittleEndian.PutUint64(q.cell, uint64(kind))
	binary.LittleEndian.PutUint64(q.cell[8:], sector)
	q.cell[headerSize] = statusOpen
	q.areas[1].Len = uint32(n)
	r := virtiotest.Request{Readable: q.areas[:1], Writable: q.areas[2:]}
	switch {
	case n == 0:
	case kind == blk.RequestIn:
		r.Writable = q.areas[1:]
	default:
		r.Readable = q.areas[:2]
	}
	if _, err := q.driver.Add(r); err != nil {
		return err
	}
	_, err := q.driver.Publish()
	return err
}

// done tells whether the request has ended well, within so much time.
func (q *queue) done(limit time.Duration) (bool, error) {
	for deadline := time.Now().Add(limit); ; {
		switch _, ok, err := q.driver.Reap(); {
		case err != nil:
			return false, err
		case ok && q.cell[headerSize] != statusOK:
			return true, errors.Errorf("status %d", q.cell[headerSize])
		case ok:
			return true, nil
		}
		if q.driver.EnableCalls() {
			continue
		}
		left := time.Until(deadline)
		switch {
		case q.dead.Load():
			return false, errDead
		case left <= 0:
			return false, nil
		}
		if _, err := q.driver.WaitCall(min(left, glance)); err != nil {
			return false, err
		}
	}
}

// do makes a request and waits for its end.
func (q *queue) do(kind blk.RequestType, sector uint64, n int) error {
	if err := q.submit(kind, sector, n); err != nil {
		return err
	}
	ok, err := q.done(patience)
	if err == nil && !ok {
		err = errors.New("it does not end")
	}
	return errors.Wrapf(err, "%v of %d bytes at sector %d", kind, n, sector)
}

// pair is a synced write.
func (q *queue) pair(sector uint64) error {
	if err := q.do(blk.RequestOut, sector, 4096); err != nil {
		return err
	}
	return q.do(blk.RequestFlush, 0, 0)
}
