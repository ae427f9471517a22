package blk_test

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// endless is an inline disk that calls its driver: on the worker, at each read.
type endless struct {
	*blk.Null
	driver atomic.Pointer[func()]
}

func (d *endless) Read([]guestmem.Iovec, int64) {
	if f := d.driver.Load(); f != nil {
		(*f)()
	}
}

// TestQueueWithoutKickBesideABusyOne: the worker never rests, because each request of the busy queue brings another.
func TestQueueWithoutKickBesideABusyOne(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	r.restartWithKick(0, -1)
	disk := &endless{Null: blk.NewNull(mib)}
	busy := newRigOn(t, r.pool, disk, rigOptions{})
	d := busy.drivers[0]
	req := virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: busy.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: busy.data, Len: 512}, {GPA: busy.status, Len: 1}},
		Indirect: true,
	}
	busy.mem.Write(busy.header, header(blk.RequestIn, 0))
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	again := func() {
		for _, ok, err := d.Reap(); ok || err != nil; _, ok, err = d.Reap() {
			if fail(err); err != nil {
				return
			}
			_, err = d.Add(req)
			fail(err)
		}
		_, err := d.Publish()
		fail(err)
	}
	disk.driver.Store(&again)
	busy.must(func() error {
		return busy.dev.UpdateQueue(0, func(*virtio.Queue) { // on the worker, as all that the driver does from here on
			for range 100 {
				_, err := d.Add(req)
				fail(err)
			}
			_, err := d.Publish()
			fail(err)
		})
	})
	for range 10 {
		r.read(0, 0, 512)
	}
	disk.driver.Store(nil)
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	if got := busy.dev.Stats().Total.Read.Requests; got <= 100 {
		t.Errorf("the busy queue made %d requests only", got)
	}
}

// TestQueueWithoutKickBesideRetries: an operation that waits to be tried again, longer each time, keeps the clock from
// nobody else.
func TestQueueWithoutKickBesideRetries(t *testing.T) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(null) })
	// Bounced reads that find less than a unit are done again: maxRetries times, for about a second.
	r := newRig(t, alignedDisk{fdDisk{fd: null, size: mib}, 512, 512}, rigOptions{})
	kickless := newRigOn(t, r.pool, blk.NewNull(mib), rigOptions{})
	kickless.restartWithKick(0, -1)
	r.mem.Write(r.status, []byte{noStatus})
	r.addReads(0, 1, r.data+16)
	eventually(t, "the read is in flight", func() bool { return len(r.pool.Pending()) == 1 })
	for i := range 5 * blk.MaxRetries { // who looks only before and after a retry finds half as many
		kickless.read(0, 0, 512)
		if r.mem.Bytes(r.status, 1)[0] != noStatus {
			t.Fatalf("%d requests only while the other was retried", i+1)
		}
	}
	if r.next(0); r.mem.Bytes(r.status, 1)[0] != 1 {
		t.Error("a disk that ends early was read")
	}
}

// TestKickThatIsAlwaysReady: a front-end may send any descriptor; a file's poll ends as soon as it begins.
func TestKickThatIsAlwaysReady(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	fd, err := unix.MemfdCreate("kick", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	r.restartWithKick(0, fd)
	r.read(0, 0, 512)
	r.expectRest()
	r.read(0, 0, 512)
}
