package vhostuser_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
)

// QEMU acks ANY_LAYOUT for a legacy driver although nobody offered it, without asking for an ack.
func TestAnyLayoutIsAccepted(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, vhostuser.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.negotiate(allFeatures)
	r.set(vhostuser.RequestSetFeatures, ut.U64(0x78000000))
	r.alive()
	r.wantCalls("SetFeatures 0x38000000")
	r.addMemory()
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.hangUp()
	if log.Len() != 0 {
		t.Fatalf("logged:\n%s", log.String())
	}
}

// After a restart with a smaller offer QEMU repeats what its guest acked before: FLUSH here, and a bit of no name.
func TestFeaturesOfAnEarlierLifeAreAccepted(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, vhostuser.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.negotiate(allFeatures)
	for range 3 {
		r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30|1<<9))
		r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<63|1<<32|1<<30|1<<9))
	}
	earlier, more := "SetFeatures 0x100000200", "SetFeatures 0x8000000100000200"
	r.wantCalls(earlier, more, earlier, more, earlier, more)
	r.addMemory()
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.hangUp()
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "0x200") {
		t.Fatalf("want one line about 0x200, got:\n%s", log.String())
	}
}

// What would change the rings beneath us is refused, and what was accepted before stays.
func TestFeaturesThatChangeTheRingsAreRefused(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(1<<34|1<<32|1<<30))
	r.wantCalls("SetFeatures 0x500000000")
	for _, bit := range []int{33, 35, 40} { // ACCESS_PLATFORM, IN_ORDER, RING_RESET
		r.refused(vhostuser.RequestSetFeatures, ut.U64(1<<bit|1<<32|1<<30))
	}
	r.wantCalls()
	r.alive()
	r.hangUp()
}
