package fusedisk

import (
	"sync/atomic"
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	room     = 16 << 10 // bytes of data that a request may carry
	patience = driver.Patience
)

// flushRequest is a FLUSH.
var flushRequest = driver.Request{Kind: blk.RequestFlush}

// writePage is a request of one page.
func writePage(sector uint64) driver.Request {
	return driver.Request{Kind: blk.RequestOut, Sector: sector, Size: page}
}

// machine is a front-end with queues that each make one request at a time.
type machine struct {
	*vhostusertest.Frontend
	queues []*driver.Queue
	dead   atomic.Bool
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
		q, err := driver.New(f.Queue(i), driver.Options{Room: room, Dead: &m.dead})
		if err != nil {
			t.Fatal(err)
		}
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

// ended tells whether the request of a queue has ended by now, without waiting for it.
func ended(q *driver.Queue) (bool, error) {
	_, ok, err := q.Next(0)
	return ok, err
}

// end waits for the request of a queue.
func end(q *driver.Queue) (bool, error) {
	_, ok, err := q.Next(patience)
	return ok, err
}

// pair is a synced write.
func pair(q *driver.Queue, sector uint64) error {
	if err := q.Do(writePage(sector)); err != nil {
		return err
	}
	return q.Do(flushRequest)
}
