package blk_test

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

func newPipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) })
	return p[0], p[1]
}

// TestShortReadsGoOn: a pipe gives what it has.
func TestShortReadsGoOn(t *testing.T) {
	in, out := newPipe(t)
	r := newRig(t, fdDisk{fd: in, size: mib}, rigOptions{})
	want := bytes.Repeat([]byte("vublk..."), 512)
	go func() {
		for i := 0; i < len(want); i += 1000 {
			_, _ = unix.Write(out, want[i:min(i+1000, len(want))])
			time.Sleep(time.Millisecond)
		}
	}()
	if got := r.read(0, 0, len(want)); !bytes.Equal(got, want) {
		t.Error("content differs")
	}
}

func TestEndOfFileIsAnError(t *testing.T) {
	in, out := newPipe(t)
	if _, err := unix.Write(out, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(null) }()
	_ = in
	r := newRig(t, fdDisk{fd: null, size: mib}, rigOptions{})
	if a := r.request(0, blk.RequestIn, 0, nil, 512); a.status != 1 {
		t.Errorf("a read that found the end: status %d, want IOERR", a.status)
	}
}

func TestHostErrorsReachTheGuest(t *testing.T) {
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(full) }()
	r := newRig(t, fdDisk{fd: full, size: mib}, rigOptions{})
	if a := r.request(0, blk.RequestOut, 0, make([]byte, 4096), 0); a.status != 1 || a.used != 1 {
		t.Errorf("ENOSPC: status %d, used %d", a.status, a.used)
	}
	if a := r.request(0, blk.RequestIn, 0, nil, 4096); a.status != 0 {
		t.Errorf("the queue does not go on: status %d", a.status)
	}
	if got := r.dev.Stats().Total.Write.Errors; got != 1 {
		t.Errorf("%d I/O errors counted, want 1", got)
	}
}

// TestZeroesWhereTheDiskHasNone: a character device has no fallocate; zeros are written instead, discards are hints.
func TestZeroesWhereTheDiskHasNone(t *testing.T) {
	in, out := newPipe(t)
	r := newRig(t, fdDisk{fd: out, size: mib}, rigOptions{})
	if a := r.request(0, blk.RequestDiscard, 0, segment(0, 8, 0), 0); a.status != 1 {
		// ESPIPE: not "unsupported"
		t.Errorf("discard on a pipe: status %d", a.status)
	}
	zero, err := unix.Open("/dev/zero", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(zero) }()
	_ = in
	r = newRig(t, fdDisk{fd: zero, size: 8 * mib}, rigOptions{})
	for _, kind := range []blk.RequestType{blk.RequestDiscard, blk.RequestWriteZeroes} {
		for _, sectors := range []uint32{1, 8, 129, 4000} {
			if a := r.request(0, kind, 0, segment(0, sectors, 0), 0); a.status > 1 {
				t.Errorf("%v of %d sectors: status %d", kind, sectors, a.status)
			}
		}
	}
}

func TestNoRoomForAnAnswer(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	r.mem.Write(r.header, header(blk.RequestIn, 0))
	for name, req := range map[string]virtiotest.Request{
		"no writable byte": {Readable: []virtiotest.Area{{GPA: r.header, Len: 16}}},
		"short header":     {Readable: []virtiotest.Area{{GPA: r.header, Len: 15}}, Writable: []virtiotest.Area{{GPA: r.status, Len: 1}}},
		"no header":        {Writable: []virtiotest.Area{{GPA: r.status, Len: 1}}},
	} {
		if used := r.roundTrip(0, req); used != 0 {
			t.Errorf("%s: used %d, want 0", name, used)
		}
	}
	if a := r.request(0, blk.RequestIn, 0, nil, 512); a.status != 0 {
		t.Errorf("the queue does not go on: status %d", a.status)
	}
}

// TestBrokenQueueLeavesOthersAlone: a chain that points outside the guest's memory breaks its queue.
func TestBrokenQueueLeavesOthersAlone(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{queues: 2})
	bad := virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: 1 << 50, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
	}
	if _, err := r.drivers[0].Add(bad); err != nil {
		t.Fatal(err)
	}
	if _, err := r.drivers[0].Publish(); err != nil {
		t.Fatal(err)
	}
	if signalled := waitFD(t, r.drivers[0].ErrFD()); !signalled {
		t.Error("the err eventfd was not signalled")
	}
	if a := r.request(1, blk.RequestIn, 0, nil, 512); a.status != 0 {
		t.Errorf("the other queue: status %d", a.status)
	}
	if _, err := r.dev.StopQueue(0); err != nil {
		t.Errorf("stop of a broken queue: %v", err)
	}
}

func waitFD(t *testing.T, fd int) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, int(waitLong.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// TestTruncatedMemory: a front-end that takes its memory away loses the session, nobody else notices.
func TestTruncatedMemory(t *testing.T) {
	pool, err := blk.NewPool(blk.PoolOptions{Workers: 1, Slots: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	if err := r.mem.Truncate(0, 0); err != nil {
		t.Fatal(err)
	}
	r.must(r.drivers[0].Kick)
	select {
	case err := <-r.failed:
		t.Logf("told: %v", err)
	case <-time.After(waitLong):
		t.Fatal("nobody was told")
	}
	r.must(func() error { return r.mem.Truncate(0, 64*mib) }) // so that the rig can be closed
}

// TestTruncatedDataIsAnError: the kernel finds the hole, the guest is told.
func TestTruncatedDataIsAnError(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	for _, c := range []struct {
		name string
		at   guestmem.GPA
	}{{"direct", 0}, {"bounced", 16}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, unitDisk{file, 512, 512}, rigOptions{})
			if err := r.mem.Truncate(0, 60*mib); err != nil {
				t.Fatal(err)
			}
			r.mem.Write(r.header, header(blk.RequestIn, 0))
			r.mem.Write(r.status, []byte{noStatus})
			req := virtiotest.Request{
				Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
				Writable: []virtiotest.Area{{GPA: r.mem.Regions()[0].GPA + 62*mib + c.at, Len: 4096}, {GPA: r.status, Len: 1}},
			}
			if _, err := r.drivers[0].Add(req); err != nil {
				t.Fatal(err)
			}
			if _, err := r.drivers[0].Publish(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(waitLong)
			for r.mem.Bytes(r.status, 1)[0] == noStatus && len(r.failed) == 0 {
				if time.Now().After(deadline) {
					t.Fatal("neither an answer nor the end of the session")
				}
				time.Sleep(time.Millisecond)
			}
			if s := r.mem.Bytes(r.status, 1)[0]; s != 1 && s != noStatus {
				t.Errorf("status %d", s)
			}
			r.must(func() error { return r.mem.Truncate(0, 64*mib) })
		})
	}
}

// TestMemoryGoneUnderAWrite: the worker itself finds the hole, while it begins the request. The session ends, and
// nothing stays taken.
func TestMemoryGoneUnderAWrite(t *testing.T) {
	file := openFile(t, newFile(t, mib), blk.FileOptions{})
	mem, err := blk.NewMem(mib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mem.Close(); err != nil {
			t.Error(err)
		}
	})
	const slots = 32
	for _, c := range []struct {
		name string
		disk blk.Disk
		kind blk.RequestType
	}{
		{"bounced", unitDisk{file, 512, 512}, blk.RequestOut},
		{"bounced, a barrier", unitDisk{file, 512, 512}, blk.RequestOut | barrier},
		{"inline", mem, blk.RequestOut},
		{"inline, a barrier", mem, blk.RequestOut | barrier},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.disk, rigOptions{pool: blk.PoolOptions{Slots: slots}})
			r.must(func() error { return r.mem.Truncate(0, 60*mib) })
			r.mem.Write(r.header, header(c.kind, 0))
			if _, err := r.drivers[0].Add(virtiotest.Request{
				Readable: []virtiotest.Area{{GPA: r.header, Len: 16}, {GPA: r.mem.Regions()[0].GPA + 62*mib + 16, Len: 4096}},
				Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.drivers[0].Publish(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-r.failed:
				t.Logf("told: %v", err)
			case <-time.After(waitLong):
				t.Fatal("nobody was told")
			}
			eventually(t, "slots and buffers are free", func() bool {
				s, b := r.pool.Unused()
				return s == slots && b == blk.BufferCount
			})
			if p := r.pool.Pending(); len(p) > 0 {
				t.Errorf("in flight: %v", p)
			}
			if got := r.dev.Stats().Total.Broken; got != 1 {
				t.Errorf("%d broken queues, want 1", got)
			}
			r.must(func() error { return r.mem.Truncate(0, 64*mib) })
		})
	}
}
