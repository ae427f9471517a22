package blk_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// TestModelMoves is TestModel with barriers, while the queues move between workers all the time and everything else happens
// to the device that may happen to it. At the end everything has been answered once, counted once, and given back.
func TestModelMoves(t *testing.T) {
	const queues, workers, requests, slots = 4, 3, 300, 64
	for _, disk := range modelDisks() {
		for name, ring := range map[string]virtio.Features{
			"split": splitRing | virtio.FeatureEventIdx, "packed": packedRing | virtio.FeatureEventIdx,
		} {
			t.Run(disk.name+"/"+name, func(t *testing.T) {
				d, path := disk.open(t)
				disk.opt.MaxDiscardSegs = 4
				r := newRig(t, d, rigOptions{
					ring: ring, queues: queues, device: disk.opt, pool: blk.PoolOptions{Workers: workers, Slots: slots},
				})
				m := &model{r: r, seed: rand.Uint64(), want: make([]byte, modelSize), barriers: true}
				t.Logf("seed %#x", m.seed)
				for range queues {
					m.alloc()
				}
				controls, mover := startControls(r, queues), startMover(t, r.dev, queues, workers)
				made := 0
				for mover.moved.Load() < 20 && !t.Failed() {
					m.seed++
					done := make(chan error, queues)
					for q := range queues {
						go func() { done <- m.run(q, queues, requests) }()
					}
					for range queues {
						if err := <-done; err != nil {
							t.Error(err)
						}
					}
					made += queues * requests
				}
				controls.end()
				mover.wantMoves(20)
				t.Logf("meanwhile: %v", controls.done)
				m.checkMoved(queues, workers, made, slots)
				m.compare(path)
			})
		}
	}
}

// checkMoved compares the device's books with what has been done.
func (m *model) checkMoved(queues, workers, made, slots int) {
	m.r.t.Helper()
	s := m.r.dev.Stats().Total
	if n := s.Read.Requests + s.Write.Requests + s.Flush.Requests + s.WriteZeroes.Requests; n != uint64(made) ||
		s.Errors() != 0 || s.Broken != 0 {
		m.r.t.Errorf("%d requests counted, want %d: %+v", n, made, s)
	}
	if int64(s.Barriers) != m.fenced.Load() || s.Barriers == 0 {
		m.r.t.Errorf("%d barriers counted, want %d", s.Barriers, m.fenced.Load())
	}
	placed, devices := m.r.pool.WorkersQueues()
	sum := 0
	for i, n := range placed {
		sum += n
		if want := min(n, 1); devices[i] != want {
			m.r.t.Errorf("worker %d has %d queues and counts %d devices", i, n, devices[i])
		}
	}
	if sum != queues {
		m.r.t.Errorf("%v queues on the workers, want %d", placed, queues)
	}
	if free, buffers := m.r.pool.Unused(); free != workers*slots || buffers != workers*blk.BufferCount {
		m.r.t.Errorf("%d slots and %d buffers are free, want %d and %d", free, buffers, workers*slots, workers*blk.BufferCount)
	}
}

// TestMoveLosesNoKick: a driver that sleeps gets its answer, whichever worker was asked for it. One request at a time, so
// each is a kick, and each may come in the middle of a move.
func TestMoveLosesNoKick(t *testing.T) {
	for name, ring := range map[string]virtio.Features{"split": splitRing, "event index": splitRing | virtio.FeatureEventIdx, "packed": packedRing} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, blk.NewNull(mib), rigOptions{ring: ring, pool: blk.PoolOptions{Workers: 2}})
			m := startMover(t, r.dev, 1, 2)
			n := uint64(0)
			for deadline := time.Now().Add(waitLong); m.moved.Load() < 300 && time.Now().Before(deadline); n++ {
				r.read(0, 0, 512)
			}
			m.wantMoves(300)
			if s := r.dev.Stats().Total; s.Read.Requests != n || r.dev.Completed() != n {
				t.Errorf("%d requests, %d completed; want %d", s.Read.Requests, r.dev.Completed(), n)
			}
		})
	}
}

// TestMoveWithoutKick: a queue that is looked at by the clock is so on the other worker, too.
func TestMoveWithoutKick(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{pool: blk.PoolOptions{Workers: 2}})
	r.restartWithKick(0, -1)
	for i := range 10 {
		to := (r.dev.WorkerOf(0) + 1) % 2
		if !r.dev.Move(0, to) || r.dev.WorkerOf(0) != to {
			t.Fatalf("move %d: on worker %d, want %d", i, r.dev.WorkerOf(0), to)
		}
		r.read(0, 0, 4096)
	}
}

// TestHungDiskKeepsItsQueue: a move waits for what is in flight only so long. Then the queue goes on where it is; nobody
// who controls the device has to wait for the disk meanwhile.
func TestHungDiskKeepsItsQueue(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{pool: blk.PoolOptions{Workers: 2}})
	home := r.dev.WorkerOf(0)
	r.addReads(0, 1, r.data)
	eventually(t, "the read hangs", func() bool { return len(r.pool.Pending()) == 1 })

	begin := time.Now()
	if m, d := r.dev.Move(0, 1-home), time.Since(begin); m || d < blk.MovePatience || r.dev.WorkerOf(0) != home {
		t.Errorf("moved: %v, after %v, on worker %d, want %d", m, d, r.dev.WorkerOf(0), home)
	}
	r.addReads(0, 1, r.data+4096)
	eventually(t, "it fetches again", func() bool { return len(r.pool.Pending()) == 2 })

	begin = time.Now()
	moved := r.beginMove(1-home, time.After(waitLong))
	for range 5 {
		next, err := r.mem.Table()
		if err != nil {
			t.Fatal(err)
		}
		r.must(func() error { return r.dev.SetMemory(next) })
		r.table.Release()
		r.table = next
		r.dev.SetHeld(true)
		r.dev.SetHeld(false)
		_ = r.dev.Stats()
	}
	if d := time.Since(begin); !r.dev.Moving(0) || d >= waitLong {
		t.Errorf("moves still: %v, after %v", r.dev.Moving(0), d)
	}
	feed(1024)
	if !<-moved {
		t.Errorf("not moved after %v", time.Since(begin))
	}
}

// beginMove has queue 0 leave its worker while a request of it hangs, and returns where the end of the move will be told.
func (r *rig) beginMove(to int, patience <-chan time.Time) <-chan bool {
	r.t.Helper()
	moved := make(chan bool, 1)
	for deadline := time.Now().Add(waitLong); ; {
		go func() { moved <- r.dev.MoveUntil(patience, 0, to) }()
		for time.Now().Before(deadline) && len(moved) == 0 {
			time.Sleep(time.Millisecond) // a move does not begin while somebody looks
			if r.dev.Moving(0) {
				return moved
			}
		}
		select {
		case <-moved: // it was over before it was seen, or had not begun because somebody asked
		default:
			r.t.Fatal("it never moves")
		}
	}
}

// TestMoveSeesWhatCameMeanwhile: what a driver makes available during a move is found, by the new worker, and by the old one
// when the move is given up. The kick is one that nobody has ever given, so that only a look at the ring can find it.
func TestMoveSeesWhatCameMeanwhile(t *testing.T) {
	poll, err := blk.ParsePoll("10ms") // a worker that polls has asked the driver not to kick
	if err != nil {
		t.Fatal(err)
	}
	for name, hangs := range map[string]bool{"moved": false, "given up": true} {
		t.Run(name, func(t *testing.T) {
			fd, feed := newHung(t)
			r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{pool: blk.PoolOptions{Workers: 2, Poll: poll}})
			kick, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			r.restartWithKick(0, kick)
			r.addReads(0, 1, r.data)
			eventually(t, "the read hangs", func() bool { return len(r.pool.Pending()) == 1 })
			home := r.dev.WorkerOf(0)
			patience := make(chan time.Time)
			moved := r.beginMove(1-home, patience)
			r.addReads(0, 1, r.data+4096)
			if hangs {
				close(patience)
			} else {
				feed(512)
			}
			if m := <-moved; m == hangs {
				t.Errorf("moved: %v", m)
			}
			if hangs {
				eventually(t, "it is fetched", func() bool { return len(r.pool.Pending()) == 2 })
				feed(512)
			}
			feed(512)
			for range 2 {
				if c := r.next(0); c.Len != 513 {
					t.Errorf("used %d", c.Len)
				}
			}
			t.Logf("%d kicks", r.dev.Stats().Total.Kicks)
		})
	}
}

// TestStopEndsAMove: at once, although the disk hangs, and the stop is answered when it does so no more.
func TestStopEndsAMove(t *testing.T) {
	fd, feed := newHung(t)
	r := newRig(t, fdDisk{fd: fd, size: mib}, rigOptions{pool: blk.PoolOptions{Workers: 2}})
	r.addReads(0, 1, r.data)
	eventually(t, "the read hangs", func() bool { return len(r.pool.Pending()) == 1 })
	begin := time.Now()
	moved := r.beginMove(1-r.dev.WorkerOf(0), time.After(waitLong))
	stopped := make(chan virtio.Base, 1)
	go func() {
		base, err := r.dev.StopQueue(0)
		if err != nil {
			t.Error(err)
		}
		stopped <- base
	}()
	if m, d := <-moved, time.Since(begin); m || d >= waitLong || r.dev.Moving(0) {
		t.Errorf("moved: %v, after %v; or it is on its way still", m, d)
	}
	feed(512)
	base := <-stopped
	if queues, devices := r.pool.WorkersQueues(); slices.Max(queues) != 0 || slices.Max(devices) != 0 {
		t.Errorf("%v queues of %v devices are left", queues, devices)
	}
	r.startAt(0, base)
	r.addReads(0, 1, r.data)
	feed(512)
	for range 2 {
		r.next(0)
	}
}

// TestMoveOfHeldQueue: it stays held, and goes on where it is then.
func TestMoveOfHeldQueue(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{pool: blk.PoolOptions{Workers: 2}})
	r.dev.SetHeld(true)
	r.addReads(0, 1, r.data)
	to := 1 - r.dev.WorkerOf(0)
	if !r.dev.Move(0, to) {
		t.Fatal("a held queue does not move")
	}
	time.Sleep(20 * time.Millisecond)
	if _, ok, _ := r.drivers[0].Reap(); ok {
		t.Error("a held queue was served")
	}
	r.dev.SetHeld(false)
	if c := r.next(0); c.Len != 513 || r.dev.WorkerOf(0) != to {
		t.Errorf("used %d on worker %d", c.Len, r.dev.WorkerOf(0))
	}
}
