package virtio_test

import (
	"testing"
	"time"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const benchBatch = 32

// blockRead is what a virtio-blk read of 4 KiB looks like: header, data, status.
func blockRead(t testing.TB, r *rig, indirect bool) virtiotest.Request {
	at := r.alloc(t, 8192)
	return virtiotest.Request{
		Readable: []virtiotest.Area{{GPA: at, Len: 16}},
		Writable: []virtiotest.Area{{GPA: at + 4096, Len: 4096}, {GPA: at + 16, Len: 1}},
		Indirect: indirect,
	}
}

var benchCases = []struct {
	name     string
	features virtio.Features
	indirect bool
}{
	{"split", virtio.FeatureVersion1 | virtio.FeatureEventIdx, false},
	{"packed", virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureRingPacked, false},
	{"split-indirect", modern, true},
	{"packed-indirect", modern | virtio.FeatureRingPacked, true},
}

// BenchmarkRing measures batches of 32 chains that go there and back on one core. The metric device-ns/chain is what
// fetching, pushing and publishing cost of it.
func BenchmarkRing(b *testing.B) {
	for _, bc := range benchCases {
		b.Run(bc.name, func(b *testing.B) {
			r := newRig(b, virtiotest.Options{Size: 256, Features: bc.features, TableLen: 4})
			req := blockRead(b, r, bc.indirect)
			r.driver.DisableCalls()
			r.queue.DisableKicks()
			b.ReportAllocs()
			var device time.Duration
			for b.Loop() {
				device += roundTrip(b, r, req, benchBatch)
			}
			b.ReportMetric(float64(device)/float64(b.N)/benchBatch, "device-ns/chain")
		})
	}
}

// turn is one turn of a device: n chains must be there.
func turn(t testing.TB, q *virtio.Queue, c *virtio.Chain, n int) {
	var tokens [benchBatch]virtio.Token
	for i := range n {
		if ok, err := q.Next(c); !ok || err != nil {
			t.Fatalf("Next = %v, %v", ok, err)
		}
		tokens[i] = c.Token
	}
	for _, token := range tokens[:n] {
		q.Push(token, 4097)
	}
	if _, err := q.Publish(); err != nil {
		t.Fatal(err)
	}
}

// roundTrip sends n chains there and back and returns how long the device's side took.
func roundTrip(t testing.TB, r *rig, req virtiotest.Request, n int) (device time.Duration) {
	for range n {
		if _, err := r.driver.Add(req); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.driver.Publish(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	turn(t, r.queue, r.chain, n)
	device = time.Since(start)
	for range n {
		if c, ok, err := r.driver.Reap(); !ok || err != nil || c.Len != 4097 {
			t.Fatalf("Reap = %v, %v, %v", c, ok, err)
		}
	}
	return device
}

// TestHotPathDoesNotAllocate covers both sides: benchmarks and latency measurements rely on the driver's, too.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, bc := range benchCases {
		t.Run(bc.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 256, Features: bc.features, TableLen: 4})
			req := blockRead(t, r, bc.indirect)
			allocs := testing.AllocsPerRun(100, func() {
				r.queue.DisableKicks()
				r.driver.DisableCalls()
				roundTrip(t, r, req, benchBatch)
				if r.queue.EnableKicks() || r.driver.EnableCalls() || r.queue.Pending() {
					t.Fatal("an idle ring has something pending")
				}
				_, _ = r.queue.Next(r.chain)
			})
			if allocs != 0 {
				t.Fatalf("%v allocations per turn", allocs)
			}
		})
	}
}

// BenchmarkGuard measures what a batch pays for surviving a truncated memfd.
func BenchmarkGuard(b *testing.B) {
	var err error
	for b.Loop() {
		func() {
			defer guestmem.Recover(&err)
		}()
	}
}
