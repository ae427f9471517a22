package blk_test

import (
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// loop keeps a depth of reads or writes going, polling, without an allocation of its own.
type loop struct {
	r    *rig
	d    *virtiotest.Driver
	reqs []virtiotest.Request // by place
	free []int
	byID []int // place of an id
	all  int
}

func newLoop(r *rig, q, depth int, kind blk.RequestType, size uint32) *loop {
	l := &loop{r: r, d: r.drivers[q], byID: make([]int, 1<<16)}
	l.d.DisableCalls()
	status := r.alloc(uint64(depth), 1)
	for i := range depth {
		head, data := r.alloc(16, 16), r.alloc(uint64(size), 4096)
		r.mem.Write(head, header(kind, uint64(i)*uint64(size)/512))
		req := virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: head, Len: 16}},
			Writable: []virtiotest.Area{{GPA: status + guestmem.GPA(i), Len: 1}},
		}
		area := virtiotest.Area{GPA: data, Len: size}
		if kind == blk.RequestIn {
			req.Writable = append([]virtiotest.Area{area}, req.Writable...)
		} else if size > 0 {
			req.Readable = append(req.Readable, area)
		}
		l.reqs = append(l.reqs, req)
		l.free = append(l.free, i)
	}
	return l
}

// run makes n requests.
func (l *loop) run(n int) {
	for done, made := 0, 0; done < n; {
		added := false
		for len(l.free) > 0 && made < n {
			place := l.free[len(l.free)-1]
			id, err := l.d.Add(l.reqs[place])
			if err != nil {
				l.r.t.Fatal(err)
			}
			l.free = l.free[:len(l.free)-1]
			l.byID[id] = place
			made++
			added = true
		}
		if added {
			if _, err := l.d.Publish(); err != nil {
				l.r.t.Fatal(err)
			}
		}
		for {
			c, ok, err := l.d.Reap()
			if err != nil {
				l.r.t.Fatal(err)
			}
			if !ok {
				break
			}
			l.free = append(l.free, l.byID[c.ID])
			done++
		}
	}
	l.all += n
}

// paths are the ways of a request through the worker that must not allocate.
func paths(t testing.TB) map[string]func() *loop {
	rigOn := func(disk func() blk.Disk, ring virtio.Features, device blk.DeviceOptions, kind blk.RequestType, size uint32) func() *loop {
		return func() *loop {
			poll, err := blk.ParsePoll("50us")
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, disk(), rigOptions{ring: ring, device: device, pool: blk.PoolOptions{Poll: poll}})
			return newLoop(r, 0, 32, kind, size)
		}
	}
	null := func() blk.Disk { return blk.NewNull(64 * mib) }
	file := func() blk.Disk { return openFile(t, newFile(t, 64*mib), blk.FileOptions{}) }
	eventIdx := splitRing | virtio.FeatureEventIdx
	through := blk.DeviceOptions{Cache: blk.CacheWritethrough}
	return map[string]func() *loop{
		"null/split":         rigOn(null, eventIdx, blk.DeviceOptions{}, blk.RequestIn, 4096),
		"null/packed":        rigOn(null, eventIdx|virtio.FeatureRingPacked, blk.DeviceOptions{}, blk.RequestIn, 4096),
		"file/read":          rigOn(file, eventIdx, blk.DeviceOptions{}, blk.RequestIn, 4096),
		"file/write":         rigOn(file, eventIdx, blk.DeviceOptions{}, blk.RequestOut, 4096),
		"file/flush":         rigOn(file, eventIdx, blk.DeviceOptions{}, blk.RequestFlush, 0),
		"file/write-through": rigOn(file, eventIdx, through, blk.RequestOut, 4096),
	}
}

// TestNoAllocationPerRequest counts the allocations of the whole process, the worker's included.
func TestNoAllocationPerRequest(t *testing.T) {
	for name, path := range paths(t) {
		t.Run(name, func(t *testing.T) {
			l := path()
			l.run(500) // what grows once has grown
			const requests = 200
			if n := testing.AllocsPerRun(5, func() { l.run(requests) }); n > 2 {
				// AllocsPerRun sees the runtime's own background allocations, too: one or two a run, not one a request.
				t.Errorf("%v allocations in %d requests", n, requests)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, path := range paths(b) {
		b.Run(name, func(b *testing.B) {
			l := path()
			l.run(1000)
			b.ReportAllocs()
			b.ResetTimer()
			l.run(b.N)
		})
	}
}
