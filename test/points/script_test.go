package points

import (
	"bytes"
	"encoding/binary"
	"os"
	"time"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/test/driver"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	queues   = 2
	depth    = 8
	pageSize = 4096
)

// attach is the beginning of a guest: all that a front-end says up to the first request.
func (l *life) attach() {
	l.t.Helper()
	o := vhostusertest.Options{
		Queues: queues, QueueSize: 32, Packed: l.packed, Memory: []guestmem.RegionInfo{virtiotest.RAM(4 << 20)},
	}
	f, err := vhostusertest.New(l.dial(), o)
	for l.unsure && gone(err) && l.lost < 2 {
		l.lost++
		f, err = vhostusertest.New(l.dial(), o)
	}
	l.must(err)
	l.front = f
	for i := range queues {
		q, err := driver.New(f.Queue(i), driver.Options{Depth: depth, Room: pageSize})
		l.must(err)
		l.queues = append(l.queues, q)
	}
	l.say("start", l.start)
}

func (l *life) start() error {
	l.running = true // a connection that is lost from here on comes back with rings
	if l.front.Started(0) && l.front.Started(queues-1) {
		return nil // it has
	}
	return l.front.Start()
}

func (l *life) stop() error {
	err := l.front.Stop()
	l.running = err != nil
	return err
}

// session is a whole life of a front-end: it begins, works, stops, goes on, plugs memory, changes the cache mode, boots again
// and leaves.
func (l *life) session() {
	l.t.Helper()
	l.attach()
	l.work()
	l.say("read the configuration", func() error {
		_, err := l.front.Config(0, 60)
		return err
	})
	for _, writeback := range []byte{0, 1} {
		l.say("choose a cache mode", func() error { return l.front.SetConfig(driver.ConfigWriteback, []byte{writeback}) })
	}
	l.plug()
	l.say("log what is written", l.front.StartLog)
	l.work()
	l.say("end the log", l.front.StopLog)
	l.say("stop", l.stop)
	l.say("start again", l.start)
	l.work()
	l.say("stop to boot", l.stop)
	l.say("boot", l.front.Reset)
	l.say("start after the boot", l.start)
	l.work()
	l.check()
}

// plug adds memory and takes it out again.
func (l *life) plug() {
	l.t.Helper()
	info := guestmem.RegionInfo{GPA: 1 << 32, Size: 1 << 20, UserAddr: 0x6000_0000_0000}
	fd, err := sys.Memfd("hot-plugged", int64(info.Size))
	l.must(err)
	defer func() { _ = fd.Close() }()
	l.say("plug memory", func() error { return l.front.AddMemory(info, fd.Int()) })
	lost := l.lost
	l.work()
	l.say("unplug memory", func() error {
		if l.lost > lost {
			return nil // another connection never had it
		}
		return l.front.RemoveMemory(info)
	})
}

// work writes a page of each queue's own with each of its slots, all at once, flushes, and reads them back.
func (l *life) work() {
	l.t.Helper()
	l.version++
	for i, q := range l.queues {
		for slot := range q.Depth() {
			r := request(blk.RequestOut, i, slot)
			copy(q.Data(slot, r), content(i, slot, l.version))
			l.must(q.Add(slot, r))
		}
		l.must(q.Publish())
	}
	l.reap()
	l.must(l.queues[0].Submit(0, driver.Request{Kind: blk.RequestFlush}))
	l.reap()
	for i, q := range l.queues {
		for slot := range q.Depth() {
			l.must(q.Add(slot, request(blk.RequestIn, i, slot)))
		}
		l.must(q.Publish())
	}
	l.reap()
	for i, q := range l.queues {
		for slot := range q.Depth() {
			if got := q.Data(slot, q.Request(slot)); !bytes.Equal(got, content(i, slot, l.version)) {
				l.t.Fatalf("queue %d, slot %d: the page begins % x, want version %d", i, slot, got[:16], l.version)
			}
		}
	}
}

// reap waits until all that is in flight has ended. The driver itself objects to a second completion.
func (l *life) reap() {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for _, q := range l.queues {
		for q.Ring().Outstanding() > 0 {
			_, ok, err := q.Next(glance)
			l.must(err)
			switch {
			case ok:
			case l.hungUp():
				l.reconnect()
			case time.Now().After(deadline):
				l.t.Fatalf("%d requests do not end", q.Ring().Outstanding())
			}
		}
		if _, ok, err := q.Reap(); ok || err != nil {
			l.t.Fatalf("a completion too many: %v", err)
		}
	}
}

func request(kind blk.RequestType, queue, slot int) driver.Request {
	return driver.Request{Kind: kind, Sector: uint64(queue*depth+slot) * pageSize / driver.SectorSize, Size: pageSize}
}

// content is a page that tells whose it is.
func content(queue, slot int, version uint64) []byte {
	page := make([]byte, 0, pageSize)
	for len(page) < pageSize {
		page = binary.LittleEndian.AppendUint64(page, version<<16|uint64(queue)<<8|uint64(slot))
	}
	return page
}

// check compares the image with what was written.
func (l *life) check() {
	l.t.Helper()
	disk, err := os.ReadFile(l.image)
	l.must(err)
	for i := range queues {
		for slot := range depth {
			at := (i*depth + slot) * pageSize
			if !bytes.Equal(disk[at:at+pageSize], content(i, slot, l.version)) {
				l.t.Fatalf("the image: page %d of queue %d is not version %d", slot, i, l.version)
			}
		}
	}
}
