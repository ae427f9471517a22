package virtio_test

import (
	"encoding/binary"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// Fuzzed memory is small, so that random addresses have a chance: one page, rings at its beginning.
const (
	fuzzGPA   = 0x1000
	fuzzBytes = 0x1000
	fuzzSize  = 8
)

// newFuzzRig makes memory and a driver that all executions of a fuzz target share: mapping them costs more than the
// rest. Of the driver only the addresses are used.
func newFuzzRig(f *testing.F, features virtio.Features) *rig {
	return newRig(f, virtiotest.Options{Size: fuzzSize, Features: features, TableLen: 1},
		guestmem.RegionInfo{GPA: fuzzGPA, Size: fuzzBytes, UserAddr: 0x5000_0000},
		guestmem.RegionInfo{GPA: fuzzGPA + fuzzBytes, Size: fuzzBytes, UserAddr: 0x6000_0000})
}

// fuzzNext runs a queue over memory that the fuzzer wrote, and checks what no memory may break.
func fuzzNext(t *testing.T, shared *rig, base virtio.Base, data []byte) {
	r := *shared
	ram := r.memory.Bytes(fuzzGPA, fuzzBytes)
	clear(ram[copy(ram, data):])
	c, err := r.driver.Config(r.table)
	mustNot(t, err)
	c.Base = base
	r.queue, err = virtio.Activate(c)
	mustNot(t, err)
	defer func() { mustNot(t, r.queue.Close()) }()
	r.queue.SetEnabled(true)
	var tokens []virtio.Token
	for round := 0; ; round++ {
		if round > 4*fuzzSize {
			t.Fatal("does not end")
		}
		ok, err := r.next()
		var chain *virtio.ChainError
		if err != nil && !errors.As(err, &chain) {
			t.Fatalf("neither a chain nor a ChainError: %v", err)
		}
		if !ok {
			break
		}
		checkFuzzedChain(t, &r)
		if round%3 == 2 { // some stay in flight
			tokens = append(tokens, r.chain.Token)
			continue
		}
		r.queue.Push(r.chain.Token, uint32(round))
		if _, err := r.queue.Publish(); err != nil {
			t.Fatal(err)
		}
		r.queue.EnableKicks()
		r.queue.DisableKicks()
	}
	r.stop(t, tokens)
}

// checkFuzzedChain: all segments are guest memory, and the sums are right.
func checkFuzzedChain(t *testing.T, r *rig) {
	t.Helper()
	c := r.chain
	if c.ReadableLen != guestmem.TotalLen(c.Readable) || c.WritableLen != guestmem.TotalLen(c.Writable) ||
		c.ReadableLen+c.WritableLen >= 1<<32 || len(c.Readable)+len(c.Writable) > virtio.MaxSegments {
		t.Fatalf("lengths %d/%d", c.ReadableLen, c.WritableLen)
	}
	for _, list := range [][]guestmem.Iovec{c.Readable, c.Writable} {
		for _, v := range list {
			if _, ok := r.table.GPAOf(v.Base, v.Len); !ok || v.Len == 0 {
				t.Fatalf("segment %#x outside of guest memory", v)
			}
		}
	}
}

// seed builds memory of 64-bit words.
func seed(words ...uint64) (b []byte) {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// FuzzSplitNext fuzzes all of a split ring: descriptors at 0, available ring at 128, used ring at 160 and what lies
// behind them, which serves as buffers and indirect tables.
func FuzzSplitNext(f *testing.F) {
	desc := func(n, flags, next uint64) uint64 { return n | flags<<32 | next<<48 }
	avail := uint64(0x0001_0000_0003_0000) // flags 0, index 3, heads 0 and 1
	f.Add(uint16(0), seed(fuzzGPA, desc(16, next, 1), fuzzGPA+64, desc(1, write, 0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, avail))
	f.Add(uint16(0), seed(fuzzGPA+512, desc(32, indirect, 0), fuzzGPA, desc(1, next, 1), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, avail))
	f.Add(uint16(65533), seed(fuzzGPA, desc(4096, next, 0)))
	r, legacy := newFuzzRig(f, modern), newFuzzRig(f, virtio.FeatureNotifyOnEmpty)
	f.Fuzz(func(t *testing.T, base uint16, data []byte) {
		fuzzNext(t, r, virtio.Base(base), data)
		fuzzNext(t, legacy, virtio.Base(base), data)
	})
}

// FuzzPackedNext fuzzes all of a packed ring: descriptors at 0, event suppression at 128 and 144.
func FuzzPackedNext(f *testing.F) {
	desc := func(n, id, flags uint64) uint64 { return n | id<<32 | flags<<48 }
	f.Add(uint8(0), true, seed(fuzzGPA, desc(16, 0, next|lap1), fuzzGPA+64, desc(1, 5, write|lap1), fuzzGPA, desc(1, 6, lap1)))
	f.Add(uint8(7), false, seed(fuzzGPA+512, desc(32, 1, indirect|lap2)))
	f.Add(uint8(3), true, seed(fuzzGPA, desc(4096, 3, next)))
	r := newFuzzRig(f, modern|virtio.FeatureRingPacked)
	f.Fuzz(func(t *testing.T, at uint8, wrap bool, data []byte) {
		base := virtio.Base(at % fuzzSize)
		if wrap {
			base |= 1 << 15
		}
		fuzzNext(t, r, base|base<<16, data)
	})
}
