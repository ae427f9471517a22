package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
)

// inflightOf asks for a buffer with a payload of n bytes.
func (r *rig) inflightOf(queues, size uint16, n int) (*sys.FD, uint64) {
	r.Helper()
	m, err := r.conn.Get(vhostuser.RequestGetInflightFD, ut.Inflight(0, 0, queues, size)[:n])
	if err != nil || len(m.Payload) != n || len(m.FDs) != 1 {
		r.Fatalf("answer % x with %d descriptors, %v", m.Payload, len(m.FDs), err)
	}
	fd := sys.NewFD(m.FDs[0])
	r.Cleanup(func() { _ = fd.Close() })
	total := binary.LittleEndian.Uint64(m.Payload)
	if !bytes.Equal(m.Payload, ut.Inflight(total, 0, queues, size)[:n]) {
		r.Fatalf("answer % x", m.Payload)
	}
	return fd, total
}

// QEMU's payload has 24 bytes, and it wants as many back; others leave the padding out.
func TestInflightBuffer(t *testing.T) {
	for _, n := range []int{20, 24} {
		for _, packed := range []bool{false, true} {
			r := newRig(t, vhostuser.Options{})
			r.negotiate(allFeatures)
			features := virtio.Features(1<<32 | 1<<30)
			if packed {
				features |= virtio.FeatureRingPacked
			}
			r.set(vhostuser.RequestSetFeatures, ut.U64(uint64(features)))
			fd, total := r.inflightOf(3, 100, n)
			if want := 3*virtio.InflightStride(features, 100) + vhostuser.MemoSize; total != want {
				t.Errorf("%d bytes, want %d", total, want)
			}
			var st unix.Stat_t
			seals, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_GET_SEALS, 0)
			if err != nil || seals != unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL {
				t.Errorf("seals %#x, %v", seals, err)
			}
			if err := unix.Fstat(fd.Int(), &st); err != nil || uint64(st.Size) != total {
				t.Errorf("a file of %d bytes, %v", st.Size, err)
			}
			r.hangUp()
		}
	}
}

// What a front-end hands out as the in-flight buffer is judged: its numbers at once, its memory when a ring starts.
func TestInflightBufferIsJudged(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
	fd := memfd(r, 4096)
	for name, p := range map[string][]byte{
		"no queues":          ut.Inflight(4096, 0, 0, 128),
		"257 queues":         ut.Inflight(1<<30, 0, 257, 128),
		"queues of 0":        ut.Inflight(4096, 0, 1, 0),
		"queues of 32769":    ut.Inflight(1<<30, 0, 1, 32769),
		"too small":          ut.Inflight(2111-64, 0, 1, 128),
		"a size that wraps":  ut.Inflight(1<<64-1, 0, 1, 128),
		"an offset too high": ut.Inflight(4096, 1<<63, 1, 128),
		"an odd offset":      ut.Inflight(4096, 4, 1, 128),
	} {
		t.Log(name)
		r.refused(vhostuser.RequestSetInflightFD, p, fd)
	}
	r.refused(vhostuser.RequestSetInflightFD, ut.Inflight(4096, 0, 1, 128))
	r.addMemory()
	r.configure(0)
	r.ok(vhostuser.RequestSetInflightFD, ut.Inflight(1<<20, 0, 1, 128), fd) // the file ends before
	r.refused(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetInflightFD, ut.Inflight(4096, 0, 1, 128), fd)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.alive()
	r.hangUp()
}

// A device's memo is in the front-end's buffer, new after a reset, and where a buffer has no room for it there is none.
func TestMemoFollowsTheBuffer(t *testing.T) {
	r := newRig(t, vhostuser.Options{})
	r.negotiate(allFeatures)
	r.set(vhostuser.RequestSetFeatures, ut.U64(1<<32|1<<30))
	r.addMemory()
	memo := func(write string) string {
		t.Helper()
		r.alive()
		b := make([]byte, 4)
		if !r.dev.memoBytes(b, write) {
			return "none"
		}
		return string(bytes.TrimRight(b, "\x00"))
	}
	start := func() {
		r.configure(0)
		r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
		r.base(0)
	}
	start() // in memory of the session's own
	if got := memo("own"); got != "own" {
		t.Fatalf("memo %q", got)
	}
	fd, total := r.inflightOf(1, 128, 24)
	r.set(vhostuser.RequestSetInflightFD, ut.Inflight(total, 0, 1, 128), fd.Int())
	start()
	if got := memo("one"); got != "one" {
		t.Fatalf("memo %q of a new buffer", got)
	}
	r.set(vhostuser.RequestSetInflightFD, ut.Inflight(total-vhostuser.MemoSize, 0, 1, 128), fd.Int())
	start()
	if got := memo(""); got != "none" {
		t.Fatalf("memo %q in a buffer without room", got)
	}
	r.set(vhostuser.RequestSetInflightFD, ut.Inflight(total, 0, 1, 128), fd.Int())
	start()
	if got := memo(""); got != "one" {
		t.Fatalf("memo %q in the old buffer", got)
	}
	r.set(vhostuser.RequestResetDevice, nil)
	start()
	if got := memo(""); got != "own" {
		t.Fatalf("memo %q after a reset", got)
	}
	r.hangUp()
}
