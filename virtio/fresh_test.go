package virtio_test

import (
	"testing"

	"github.com/vublk/vublk/virtio/virtiotest"
)

// TestFresh: only a ring that no device has used is fresh, wherever its indices have come round to.
func TestFresh(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 4, Features: f.features})
			request := virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 64), Len: 64}}}
			r.add(t, request) // before the start, which does not make the ring old
			r.publish(t)
			r.succeed(t, r.driver.Base())
			const round = 1 << 16
			for served := 0; served <= round; served++ {
				if restarted := served <= 20 || served > round-2; restarted && r.queue.Fresh() != (served == 0) {
					t.Fatalf("after %d chains: fresh is %v", served, r.queue.Fresh())
				}
				r.queue.Push(r.fetch(t), 64)
				_, err := r.queue.Publish()
				mustNot(t, err)
				r.reap(t)
				if served < 20 || served > round-3 {
					base, err := r.queue.Stop()
					mustNot(t, err)
					r.succeed(t, base)
				}
				r.add(t, request)
				r.publish(t)
			}
		})
	}
}
