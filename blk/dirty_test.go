package blk_test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// newLog makes a log of the rig's guest.
func (r *rig) newLog() (*virtiotest.Log, *guestmem.DirtyLog) {
	r.t.Helper()
	log, dirty := r.openLog()
	r.t.Cleanup(func() { _ = log.Close() })
	return log, dirty
}

// openLog is newLog, and the caller closes the log.
func (r *rig) openLog() (*virtiotest.Log, *guestmem.DirtyLog) {
	r.t.Helper()
	log, err := virtiotest.NewLog(r.mem)
	if err != nil {
		r.t.Fatal(err)
	}
	dirty, err := log.Map()
	if err != nil {
		r.t.Fatal(err)
	}
	return log, dirty
}

// logTo has everything marked in l, as a session does, nil: nowhere.
func (r *rig) logTo(l *guestmem.DirtyLog) {
	r.t.Helper()
	r.must(func() error { return r.dev.SetLog(l) })
	for i, d := range r.drivers {
		r.must(func() error {
			return r.dev.UpdateQueue(i, func(q *virtio.Queue) { q.SetLog(l, d.LogAddress()) })
		})
	}
}

// shortCase is a file that has become shorter than its device: reads end in the middle, and fail.
func shortCase() modelDisk {
	c := fileCase("short", 0, 0, blk.FileOptions{Buffered: true})
	open := c.open
	c.open = func(t *testing.T) (blk.Disk, string) {
		disk, path := open(t)
		if err := os.Truncate(path, modelSize/2+700); err != nil {
			t.Fatal(err)
		}
		return disk, path
	}
	return c
}

// TestLogHasWhatRequestsWrite makes batches of random requests, good and bad, on all kinds of Disks, and compares guest
// memory before and after each: every byte that has changed is on a marked page, be it data, status or ring.
func TestLogHasWhatRequestsWrite(t *testing.T) {
	for _, disk := range append(modelDisks(), shortCase()) {
		for _, c := range []struct {
			name            string
			ring            virtio.Features
			queues, workers int
		}{
			{"split", splitRing, 1, 1},
			{"packed", packedRing, 1, 1},
			{"split/3x2", splitRing | virtio.FeatureEventIdx, 3, 2},
			{"packed/2x2", packedRing | virtio.FeatureEventIdx, 2, 2},
		} {
			t.Run(disk.name+"/"+c.name, func(t *testing.T) {
				d, _ := disk.open(t)
				r := newRig(t, d, rigOptions{
					ring: c.ring, queues: c.queues, size: 512, device: disk.opt,
					pool: blk.PoolOptions{Workers: c.workers, Slots: 64},
				})
				m := &logModel{rig: r, rnd: rand.New(rand.NewPCG(rand.Uint64(), 0))}
				m.start()
				for range 25 {
					m.round()
				}
				if m.failed == 0 || m.read < 100 {
					t.Errorf("%d reads changed memory, %d requests failed: nothing was tried", m.read, m.failed)
				}
			})
		}
	}
}

// logModel is the driver of TestLogHasWhatRequestsWrite.
type logModel struct {
	*rig
	rnd    *rand.Rand
	log    *virtiotest.Log
	area   guestmem.GPA
	begin  guestmem.GPA
	next   guestmem.GPA
	status []guestmem.GPA
	read   int
	failed int
}

const logArea = 6 * mib

func (m *logModel) start() {
	m.begin, m.area = m.mem.Regions()[0].GPA, m.alloc(logArea, 4096)
	noise := make([]byte, mib)
	for at := uint64(0); at < modelSize/512; at += uint64(len(noise) / 512) {
		_, _ = rand.NewChaCha8([32]byte{byte(at >> 8)}).Read(noise) // never fails
		m.write(0, at, noise)
	}
	var dirty *guestmem.DirtyLog
	m.log, dirty = m.newLog()
	m.t.Cleanup(dirty.Close)
	m.logTo(dirty)
	m.t.Cleanup(func() { m.logTo(nil) })
}

// round makes some requests on each queue, lets the device serve them, and looks at what has changed.
func (m *logModel) round() {
	m.t.Helper()
	m.next, m.status = m.area, m.status[:0]
	sent := make([]int, len(m.drivers))
	for q := range m.drivers {
		for range 1 + m.rnd.IntN(12) {
			m.add(q)
			sent[q]++
		}
	}
	n := int(m.next - m.begin)
	before := m.mem.Snapshot(m.begin, n)
	for q := range m.drivers { // all of them, before any is waited for
		m.must(func() error { _, err := m.drivers[q].Publish(); return err })
	}
	if workers := m.pool.Workers(); workers > 1 {
		m.dev.Move(m.rnd.IntN(len(m.drivers)), m.rnd.IntN(workers))
	}
	for q := range m.drivers {
		for range sent[q] {
			m.rig.next(q)
		}
	}
	m.pool.Turns() // the workers have marked what they wrote last
	after := m.mem.Snapshot(m.begin, n)
	var drivers []virtiotest.Area
	for _, d := range m.drivers {
		drivers = append(drivers, d.DriverArea())
	}
	marked := m.log.Take()
	if at, found := marked.Unmarked(m.begin, before, after, drivers...); found {
		m.t.Fatalf("the byte at %#x has changed, its page is not marked", uint64(at))
	}
	for _, s := range m.status {
		if after[s-m.begin] != 0 {
			m.failed++
		}
	}
	m.read += len(marked)
}

// add makes one request, with its memory behind that of the one before.
func (m *logModel) add(q int) {
	m.t.Helper()
	kind, in, out := blk.RequestIn, 0, 0
	sectors := 1 + m.rnd.IntN(1<<m.rnd.IntN(8))
	sector := uint64(m.rnd.IntN(modelSize/512 - sectors))
	switch m.rnd.IntN(10) {
	case 0:
		kind, in = blk.RequestGetID, m.rnd.IntN(40)
	case 1:
		kind = blk.RequestFlush
	case 2:
		kind, out = blk.RequestOut, 512*sectors
	case 3:
		in, sector = 512*sectors, modelSize/512-uint64(m.rnd.IntN(sectors)) // behind the end
	case 4:
		kind, in = 77, 100
	default:
		in = 512 * sectors
	}
	at := m.next + guestmem.GPA(m.rnd.IntN(9000))
	if m.rnd.IntN(2) == 0 {
		at = (at + 511) &^ 511
	}
	m.mem.Write(at, header(kind, sector))
	back := at + guestmem.GPA(16+out)
	if m.rnd.IntN(2) == 0 {
		back = (back + 4095) &^ 4095
	}
	end := back + guestmem.GPA(in)
	m.mem.Write(end, []byte{noStatus})
	m.status = append(m.status, end)
	m.next = end + 1
	req := virtiotest.Request{
		Readable: areas(at, uint32(16+out), cuts(m.rnd, 16+out)),
		Writable: areas(back, uint32(in+1), cuts(m.rnd, in+1)),
		Indirect: m.rnd.IntN(2) == 0,
	}
	if _, err := m.drivers[q].Add(req); err != nil {
		m.t.Fatal(err)
	}
}

// TestLogHasWhatWasSubmittedBefore: a read that was under way when logging began ends in the log, as a whole.
func TestLogHasWhatWasSubmittedBefore(t *testing.T) {
	in, out := newPipe(t)
	r := newRig(t, fdDisk{fd: in, size: mib}, rigOptions{})
	log, dirty := r.newLog()
	t.Cleanup(dirty.Close)
	r.mem.Write(r.header, header(blk.RequestIn, 0))
	_, err := r.drivers[0].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.data, Len: 3 * 4096}, {GPA: r.status, Len: 1}},
	})
	if err == nil {
		_, err = r.drivers[0].Publish()
	}
	if err != nil {
		t.Fatal(err)
	}
	for len(r.pool.Pending()) == 0 {
		time.Sleep(time.Millisecond)
	}
	r.logTo(dirty)
	if _, err := unix.Write(out, make([]byte, 3*4096)); err != nil {
		t.Fatal(err)
	}
	r.next(0)
	r.pool.Turns()
	marked := log.Take()
	for _, at := range []guestmem.GPA{r.data, r.data + 4096, r.data + 2*4096, r.status, r.drivers[0].LogAddress()} {
		if !marked.Has(at) {
			t.Errorf("page of %#x is not marked", uint64(at))
		}
	}
	r.logTo(nil)
}

// TestLogHasAllOfAFailedRead: nobody knows what the kernel wrote before it failed.
func TestLogHasAllOfAFailedRead(t *testing.T) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(null) }()
	r := newRig(t, fdDisk{fd: null, size: mib}, rigOptions{})
	log, dirty := r.newLog()
	t.Cleanup(dirty.Close)
	r.logTo(dirty)
	if a := r.request(0, blk.RequestIn, 0, nil, 4*4096); a.status != 1 {
		t.Fatalf("status %d, want IOERR", a.status)
	}
	marked := log.Take()
	for at := r.data; at < r.data+4*4096; at += 4096 {
		if !marked.Has(at) {
			t.Errorf("page of %#x is not marked", uint64(at))
		}
	}
	r.logTo(nil)
}

// TestLogIsSwappedUnderLoad: once SetLog has returned nothing is written to the log before; it is closed at once, so
// that a late mark would end in a fault.
func TestLogIsSwappedUnderLoad(t *testing.T) {
	r := newRig(t, openFile(t, newFile(t, 4*mib), blk.FileOptions{}), rigOptions{
		queues: 2, ring: packedRing | virtio.FeatureEventIdx, pool: blk.PoolOptions{Workers: 2},
	})
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		l, n := newLoop(r, 0, 32, blk.RequestIn, 4096), 0
		for {
			select {
			case <-stop:
				ended <- n
				return
			default:
				l.run(64)
				n += 64
			}
		}
	}()
	var old *virtiotest.Log
	var oldDirty *guestmem.DirtyLog
	rounds, used := 0, 0
	for deadline := time.Now().Add(waitLong); (rounds < 40 || used < 5) && time.Now().Before(deadline); rounds++ {
		log, dirty := r.openLog()
		r.logTo(dirty)
		if old != nil {
			oldDirty.Close()
			if len(old.Take()) > 0 {
				used++
			}
			time.Sleep(time.Millisecond) // for a late mark to come
			if n := len(old.Take()); n != 0 {
				t.Fatalf("%d pages were marked in a log that is not in use any more", n)
			}
			r.must(old.Close)
		}
		old, oldDirty = log, dirty
	}
	r.logTo(nil)
	oldDirty.Close()
	r.must(old.Close)
	close(stop)
	if n := <-ended; rounds < 40 || used < 5 {
		t.Errorf("%d requests, and only %d logs of %d were marked", n, used, rounds)
	}
}

// TestTruncatedLogEndsTheSession: a log that vanishes costs the queue and the session, not the process.
func TestTruncatedLogEndsTheSession(t *testing.T) {
	r := newRig(t, openFile(t, newFile(t, 4*mib), blk.FileOptions{}), rigOptions{})
	log, dirty := r.newLog()
	t.Cleanup(dirty.Close)
	r.logTo(dirty)
	if err := unix.Ftruncate(log.FD(), 0); err != nil {
		t.Fatal(err)
	}
	r.mem.Write(r.header, header(blk.RequestIn, 0))
	_, err := r.drivers[0].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.data, Len: 4096}, {GPA: r.status, Len: 1}},
	})
	if err == nil {
		_, err = r.drivers[0].Publish()
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.failed:
		t.Log(err)
	case <-time.After(waitLong):
		t.Fatal("the session was not told")
	}
	if slots, _ := r.pool.Unused(); slots != 256 {
		t.Errorf("%d of 256 slots are unused", slots)
	}
	r.logTo(nil)
}

// TestLoggingDoesNotAllocate is TestNoAllocationPerRequest while the guest migrates.
func TestLoggingDoesNotAllocate(t *testing.T) {
	for name, path := range paths(t) {
		t.Run(name, func(t *testing.T) {
			l := path()
			_, dirty := l.r.newLog()
			t.Cleanup(dirty.Close)
			l.r.logTo(dirty)
			l.run(500)
			const requests = 200
			if n := testing.AllocsPerRun(5, func() { l.run(requests) }); n > 2 {
				t.Errorf("%v allocations in %d requests", n, requests)
			}
			l.r.logTo(nil)
		})
	}
}
