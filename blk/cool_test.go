package blk_test

import (
	"testing"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
)

// TestIdleQueueCoolsBesideABusyOne: a worker that never sleeps does not look for ever at a queue that has nothing, and
// while it looks the driver need not kick.
func TestIdleQueueCoolsBesideABusyOne(t *testing.T) {
	for name, ring := range map[string]virtio.Features{
		"split": splitRing, "split, event index": splitRing | virtio.FeatureEventIdx,
		"packed": packedRing, "packed, event index": packedRing | virtio.FeatureEventIdx,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, blk.NewNull(mib), rigOptions{ring: ring})
			r.read(0, 0, 512)
			if !r.dev.HotAfter(0, blk.CoolLag/2) {
				t.Error("not looked at any more, although it has just had something")
			}
			if r.dev.HotAfter(0, 2*blk.CoolLag) {
				t.Error("still looked at")
			}
			r.addReads(0, 1, r.data)
			if kicked, err := r.drivers[0].WaitKick(waitLong); err != nil || !kicked {
				t.Errorf("the driver was not asked for kicks: kicked %v, error %v", kicked, err)
			}
			r.next(0)
		})
	}
}
