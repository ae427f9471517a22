package driver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// fake is a device that is told for each request what to answer.
type fake struct {
	*virtio.Queue
	chain *virtio.Chain
}

// seen is a request as the device sees it.
type seen struct {
	token    virtio.Token
	sent     []byte
	segments int
	writable []guestmem.Iovec
}

func (f *fake) next(t *testing.T) seen {
	t.Helper()
	if ok, err := f.Next(f.chain); !ok || err != nil {
		t.Fatalf("no request: %v", err)
	}
	s := seen{token: f.chain.Token, sent: make([]byte, f.chain.ReadableLen), segments: len(f.chain.Readable) + len(f.chain.Writable)}
	guestmem.CopyIn(s.sent, f.chain.Readable)
	s.writable = append(s.writable, f.chain.Writable...)
	return s
}

// answer completes a request: what was asked for, then the status byte.
func (f *fake) answer(s seen, b ...byte) {
	guestmem.CopyOut(s.writable, b)
	f.complete(s, uint32(len(b)))
}

func (f *fake) complete(s seen, written uint32) {
	f.Push(s.token, written)
	if _, err := f.Publish(); err != nil {
		panic(err) // an eventfd of ours
	}
}

func newFake(t *testing.T, features virtio.Features, o Options) (*Queue, *fake) {
	t.Helper()
	m, err := virtiotest.NewMemory(virtiotest.RAM(4 << 20))
	if err != nil {
		t.Fatal(err)
	}
	d, err := virtiotest.NewDriver(m, virtiotest.Options{Size: 32, Features: features | virtio.FeatureVersion1 | virtio.FeatureIndirectDesc})
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	device, err := d.Activate(table)
	table.Release()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{device.Close(), d.Close(), m.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	q, err := New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return q, &fake{device, virtio.NewChain()}
}

// TestQueue: requests arrive as they were made, and completions in any order find their slots.
func TestQueue(t *testing.T) {
	for _, features := range []virtio.Features{0, virtio.FeatureRingPacked} {
		for _, poll := range []bool{false, true} {
			t.Run(fmt.Sprintf("packed=%v,poll=%v", features != 0, poll), func(t *testing.T) {
				q, device := newFake(t, features, Options{Depth: 3, Room: 8192, Poll: poll})
				write := Request{Kind: blk.RequestOut, Sector: 7, Size: 3 * SectorSize, Parts: 2, Shift: 40}
				read := Request{Kind: blk.RequestIn, Sector: 9, Size: SectorSize, Indirect: true}
				zero := Request{Kind: blk.RequestWriteZeroes, Sector: 5, Size: 4 * SectorSize, Unmap: true}
				data := q.Data(0, write)
				for i := range data {
					data[i] = byte(i / 3)
				}
				for i, r := range []Request{write, read, zero} {
					if err := q.Submit(i, r); err != nil {
						t.Fatal(err)
					}
				}
				w, r, z := device.next(t), device.next(t), device.next(t)
				le := binary.LittleEndian
				if le.Uint32(w.sent) != 1 || le.Uint64(w.sent[8:]) != 7 || !bytes.Equal(w.sent[16:], data) || w.segments != 4 {
					t.Errorf("write: % x… in %d segments", w.sent[:16], w.segments)
				}
				if le.Uint32(r.sent) != 0 || le.Uint64(r.sent[8:]) != 9 || len(r.sent) != 16 {
					t.Errorf("read: % x", r.sent)
				}
				if le.Uint32(z.sent) != 13 || le.Uint64(z.sent[16:]) != 5 || le.Uint32(z.sent[24:]) != 4 || le.Uint32(z.sent[28:]) != 1 {
					t.Errorf("zeroes: % x", z.sent)
				}
				device.answer(z, 1)
				device.answer(r, append(bytes.Repeat([]byte{3}, SectorSize), 0)...)
				device.answer(w, 0)
				var status *StatusError
				if slot, ok, err := q.Next(Patience); slot != 2 || !ok || !errors.As(err, &status) || status.Status != 1 {
					t.Errorf("slot %d, %v, %v: want a failure of slot 2", slot, ok, err)
				}
				if slot, ok, err := q.Next(Patience); slot != 1 || !ok || err != nil || q.Data(1, read)[511] != 3 {
					t.Errorf("slot %d, %v, %v: want slot 1", slot, ok, err)
				}
				if !q.Flying(0) || q.Flying(1) || q.Flying(2) {
					t.Error("slot 0 alone is in flight")
				}
				if slot, ok, err := q.Next(Patience); slot != 0 || !ok || err != nil {
					t.Errorf("slot %d, %v, %v: want slot 0", slot, ok, err)
				}
			})
		}
	}
}

// TestQueueFindsFaults: completions that cannot be are errors, and waiting ends.
func TestQueueFindsFaults(t *testing.T) {
	var dead atomic.Bool
	q, device := newFake(t, 0, Options{Room: SectorSize, Dead: &dead})
	read := Request{Kind: blk.RequestIn, Size: SectorSize}
	submit := func() seen {
		t.Helper()
		if err := q.Submit(0, read); err != nil {
			t.Fatal(err)
		}
		return device.next(t)
	}
	s := submit()
	if _, ok, err := q.Next(time.Millisecond); ok || err != nil {
		t.Errorf("%v, %v before anything completes", ok, err)
	}
	if err := q.Submit(0, read); err == nil {
		t.Error("a slot takes two requests")
	}
	device.complete(s, 0)
	var status *StatusError
	if _, _, err := q.Next(Patience); !errors.As(err, &status) || status.Status != StatusOpen {
		t.Errorf("%v: want the status that nobody wrote", err)
	}
	s = submit()
	guestmem.CopyOut(s.writable, make([]byte, SectorSize+1))
	device.complete(s, SectorSize)
	if _, ok, err := q.Next(Patience); ok || err == nil {
		t.Errorf("%v, %v: want a wrong length to be found", ok, err)
	}
	submit()
	dead.Store(true)
	if _, _, err := q.Next(Patience); !errors.Is(err, ErrDead) {
		t.Errorf("%v: want %v", err, ErrDead)
	}
}
