package virtio_test

import (
	"fmt"
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// TestRoundTripsAtAllSizes goes around each ring several times, past index 65535 in split rings, with as many chains at
// once as fit, and completes them in an order that differs each time.
func TestRoundTripsAtAllSizes(t *testing.T) {
	split := []uint32{1, 2, 8, 128, 1024, 32768}
	packed := append([]uint32{3, 7, 1000, 32767}, split...)
	for _, f := range formats[:3] {
		sizes, base := split, virtio.Base(65500)
		if f.packed() {
			sizes, base = packed, 0
		}
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%d", f.name, size), func(t *testing.T) {
				r := newRig(t, virtiotest.Options{Size: size, Features: f.features, Base: base, TableLen: 2})
				at := r.alloc(t, 4096)
				for round := range max(3, 200/int(size)) {
					goAround(t, r, at, round)
				}
				stopped, err := r.queue.Stop()
				mustNot(t, err)
				if !f.packed() && stopped >= base {
					t.Fatalf("stopped at %d: the index did not wrap around", stopped)
				}
			})
		}
	}
}

// goAround fills the ring with chains of one to three descriptors and empties it again.
func goAround(t *testing.T, r *rig, at guestmem.GPA, round int) {
	t.Helper()
	var sent []uint16
	for {
		req := virtiotest.Request{Readable: []virtiotest.Area{{GPA: at, Len: 16}}}
		for i := range uint32(len(sent)+round) % 3 {
			req.Writable = append(req.Writable, virtiotest.Area{GPA: at + 64, Len: 10 + i})
		}
		req.Indirect = len(req.Writable) == 1 && len(sent)%2 == 0
		id, err := r.driver.Add(req)
		if err != nil {
			break
		}
		sent = append(sent, id)
	}
	if len(sent) == 0 {
		sent = append(sent, r.add(t, virtiotest.Request{Readable: []virtiotest.Area{{GPA: at, Len: 16}}}))
	}
	r.publish(t)
	tokens := make([]virtio.Token, len(sent))
	lens := map[uint16]uint32{}
	for i := range sent {
		tokens[i] = r.fetch(t)
		if tokens[i].ID != sent[i] {
			t.Fatalf("fetched %d; want %d", tokens[i].ID, sent[i])
		}
		lens[sent[i]] = uint32(r.chain.WritableLen)
	}
	if r.queue.Pending() || r.queue.InFlight() != len(sent) {
		t.Fatalf("pending %v, in flight %d", r.queue.Pending(), r.queue.InFlight())
	}
	for i := range tokens { // in order, reversed, or from the middle
		token := tokens[[3]int{i, len(tokens) - 1 - i, (i + len(tokens)/2) % len(tokens)}[round%3]]
		r.queue.Push(token, lens[token.ID])
		if i%50 == 49 {
			_, err := r.queue.Publish()
			mustNot(t, err)
		}
	}
	_, err := r.queue.Publish()
	mustNot(t, err)
	for range sent {
		c := r.reap(t)
		if want, ok := lens[c.ID]; !ok || want != c.Len {
			t.Fatalf("completion %+v; want len %d (%v)", c, want, ok)
		}
		delete(lens, c.ID)
	}
	if _, ok, err := r.driver.Reap(); ok || err != nil {
		t.Fatalf("one completion too many: %v", err)
	}
}

// TestUnpublishedIsInvisible: pushed elements appear with Publish and not before, in whatever number.
func TestUnpublishedIsInvisible(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
			at := r.alloc(t, 64)
			for range 30 {
				for i := range 5 {
					r.add(t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: at, Len: uint32(i)}}})
					if r.queue.Pending() {
						t.Fatal("visible before the driver published it")
					}
				}
				r.publish(t)
				for range 5 {
					r.queue.Push(r.fetch(t), uint32(r.chain.WritableLen))
					if _, ok, err := r.driver.Reap(); ok || err != nil {
						t.Fatalf("visible before the device published it (%v)", err)
					}
				}
				if _, err := r.queue.Publish(); err != nil {
					t.Fatal(err)
				}
				for range 5 {
					r.reap(t)
				}
				if called, err := r.queue.Publish(); called || err != nil {
					t.Fatalf("publishing nothing: %v, %v", called, err)
				}
			}
		})
	}
}
