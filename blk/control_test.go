package blk_test

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// TestStopDrains: a stop returns when what is in flight has ended, and Pending names it meanwhile.
func TestStopDrains(t *testing.T) {
	in, out := newPipe(t)
	r := newRig(t, fdDisk{fd: in, size: mib}, rigOptions{device: blk.DeviceOptions{Name: "slow"}})
	r.mem.Write(r.header, header(blk.RequestIn, 8))
	r.mem.Write(r.status, []byte{noStatus})
	if _, err := r.drivers[0].Add(virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
		Writable: []virtiotest.Area{{GPA: r.data, Len: 4096}, {GPA: r.status, Len: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.drivers[0].Publish(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the read is in flight", func() bool { return len(r.pool.Pending()) == 1 })
	if s := r.pool.Pending()[0].String(); !strings.Contains(s, "slow queue 0: IN at byte 4096, 4096 bytes left") {
		t.Errorf("pending: %s", s)
	}
	stopped := make(chan virtio.Base, 1)
	go func() {
		base, err := r.dev.StopQueue(0)
		if err != nil {
			t.Error(err)
		}
		stopped <- base
	}()
	select {
	case <-stopped:
		t.Fatal("stopped with a request in flight")
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := unix.Write(out, bytes.Repeat([]byte{9}, 4096)); err != nil {
		t.Fatal(err)
	}
	if base := <-stopped; base != 1 {
		t.Errorf("base %d, want 1", base)
	}
	if c, ok, err := r.drivers[0].Reap(); !ok || err != nil || c.Len != 4097 {
		t.Errorf("the drained request: %+v, %v, %v", c, ok, err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLong); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestHeldAndDisabledQueuesWait: started rings that may not be served keep what the driver gave them.
func TestHeldAndDisabledQueuesWait(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	for name, serve := range map[string]func(on bool){
		"held": func(on bool) { r.dev.SetHeld(!on) },
		"disabled": func(on bool) {
			r.must(func() error { return r.dev.UpdateQueue(0, func(q *virtio.Queue) { q.SetEnabled(on) }) })
		},
	} {
		serve(false)
		if _, err := r.drivers[0].Add(virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
			Writable: []virtiotest.Area{{GPA: r.status, Len: 1}},
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.drivers[0].Publish(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		if _, ok, _ := r.drivers[0].Reap(); ok {
			t.Errorf("%s: served", name)
		}
		serve(true)
		if c := r.next(0); c.Len != 1 {
			t.Errorf("%s, then served: used %d", name, c.Len)
		}
	}
}

// TestRestart stops and starts a queue where it stopped, with either ring, many times.
func TestRestart(t *testing.T) {
	for name, ring := range map[string]virtio.Features{"split": splitRing, "packed": packedRing} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, blk.NewNull(mib), rigOptions{ring: ring, size: 4})
			for range 20 {
				for range 3 {
					r.read(0, 0, 512)
				}
				base, err := r.dev.StopQueue(0)
				if err != nil {
					t.Fatal(err)
				}
				r.startAt(0, base)
			}
		})
	}
}

// TestMemoryChangesUnderLoad swaps the memory table while requests run.
func TestMemoryChangesUnderLoad(t *testing.T) {
	file := openFile(t, newFile(t, 8*mib), blk.FileOptions{})
	r := newRig(t, file, rigOptions{queues: 2, pool: blk.PoolOptions{Workers: 2}})
	var stop atomic.Bool
	done := make(chan error, 1)
	status := r.alloc(1, 1)
	go func() {
		for i := 0; !stop.Load(); i++ {
			if _, err := r.drivers[1].Add(virtiotest.Request{
				Readable: []virtiotest.Area{{GPA: r.header, Len: 16}},
				Writable: []virtiotest.Area{{GPA: r.data, Len: 4096}, {GPA: status, Len: 1}},
			}); err != nil {
				done <- err
				return
			}
			if _, err := r.await(1); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	r.mem.Write(r.header, header(blk.RequestIn, 0))
	for range 200 {
		next, err := r.mem.Table()
		if err != nil {
			t.Fatal(err)
		}
		r.must(func() error { return r.dev.SetMemory(next) })
		r.table.Release()
		r.table = next
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.dev.Stats().Total; got.Errors() != 0 || got.Broken != 0 {
		t.Errorf("%+v", got)
	}
}

// TestMemoryWithoutTheRings: a table that lacks a queue's rings breaks that queue.
func TestMemoryWithoutTheRings(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	other, err := virtiotest.NewMemory(guestmem.RegionInfo{GPA: 1 << 40, Size: mib, UserAddr: 1 << 45})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	table, err := other.Table()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	r.must(func() error { return r.dev.SetMemory(table) })
	if got := r.dev.Stats().Total.Broken; got != 1 {
		t.Errorf("%d broken queues, want 1", got)
	}
	if _, err := r.dev.StopQueue(0); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestQueueWithoutKick: a front-end may ask for a queue to be polled.
func TestQueueWithoutKick(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	r.restartWithKick(0, -1)
	for range 10 {
		r.read(0, 0, 4096)
	}
}

func TestStartTwiceAndStopTwice(t *testing.T) {
	r := newRig(t, blk.NewNull(mib), rigOptions{})
	q, err := r.drivers[0].Activate(r.table)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.dev.StartQueue(0, q); err == nil {
		t.Error("a started queue was started")
	}
	for i, want := range []bool{true, false} {
		if _, err := r.dev.StopQueue(0); (err == nil) != want {
			t.Errorf("stop %d: %v", i+1, err)
		}
	}
	for _, i := range []int{-1, blk.MaxQueues} {
		if _, err := r.dev.StopQueue(i); err == nil {
			t.Errorf("queue %d was stopped", i)
		}
	}
}
