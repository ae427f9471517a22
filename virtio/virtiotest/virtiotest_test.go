package virtiotest

import (
	"encoding/binary"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const ringFeatures = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

func newDriver(t *testing.T, o Options, regions ...guestmem.RegionInfo) *Driver {
	t.Helper()
	if len(regions) == 0 {
		regions = []guestmem.RegionInfo{RAM(1 << 20)}
	}
	m, err := NewMemory(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := NewDriver(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func addOne(t *testing.T, d *Driver) uint16 {
	t.Helper()
	id, err := d.Add(Request{Writable: []Area{{GPA: 0x10_0000, Len: 10}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestReapCatchesBadSplitDevices plays a device that completes wrongly.
func TestReapCatchesBadSplitDevices(t *testing.T) {
	for name, device := range map[string]func(used []byte, id uint32){
		"index too far":  func(used []byte, id uint32) { complete(used, 0, id, 1); usedIdx(used, 2) },
		"index backward": func(used []byte, _ uint32) { usedIdx(used, 65535) },
		"never added":    func(used []byte, id uint32) { complete(used, 0, id+1, 1); usedIdx(used, 1) },
		"id too large":   func(used []byte, _ uint32) { complete(used, 0, 8, 1); usedIdx(used, 1) },
		"len too large":  func(used []byte, id uint32) { complete(used, 0, id, 11); usedIdx(used, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, Options{Size: 8, Features: ringFeatures})
			_, _, used := d.RingBytes()
			device(used, uint32(addOne(t, d)))
			if c, ok, err := d.Reap(); err == nil {
				t.Fatalf("reaped %+v, %v", c, ok)
			}
		})
	}
}

func complete(used []byte, slot int, id, n uint32) {
	binary.LittleEndian.PutUint32(used[4+8*slot:], id)
	binary.LittleEndian.PutUint32(used[8+8*slot:], n)
}

func usedIdx(used []byte, v uint16) { binary.LittleEndian.PutUint16(used[2:], v) }

func TestReapCatchesACompletionTwice(t *testing.T) {
	d := newDriver(t, Options{Size: 8, Features: ringFeatures})
	_, _, used := d.RingBytes()
	id := uint32(addOne(t, d))
	addOne(t, d)
	complete(used, 0, id, 1)
	complete(used, 1, id, 1)
	usedIdx(used, 2)
	if _, ok, err := d.Reap(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := d.Reap(); ok || err == nil {
		t.Fatal("reaped twice")
	}
}

func TestReapCatchesBadPackedDevices(t *testing.T) {
	const both = PackedAvail | PackedUsed
	for name, used := range map[string]PackedDesc{
		"never added":    {ID: 5, Flags: both},
		"id too large":   {ID: 8, Flags: both},
		"len too large":  {ID: 0, Len: 11, Flags: both | DescWrite},
		"len, no write":  {ID: 0, Len: 1, Flags: both},
		"id much larger": {ID: 65535, Flags: both},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, Options{Size: 8, Features: ringFeatures | virtio.FeatureRingPacked})
			if id := addOne(t, d); id != 0 {
				t.Fatalf("id %d", id)
			}
			d.Packed().SetDesc(0, used)
			if c, ok, err := d.Reap(); err == nil {
				t.Fatalf("reaped %+v, %v", c, ok)
			}
		})
	}
	t.Run("nothing outstanding", func(t *testing.T) {
		d := newDriver(t, Options{Size: 8, Features: ringFeatures | virtio.FeatureRingPacked})
		d.Packed().SetDesc(0, PackedDesc{Flags: both})
		if _, ok, err := d.Reap(); ok || err == nil {
			t.Fatal("reaped what was never added")
		}
	})
}

func TestAddRefuses(t *testing.T) {
	d := newDriver(t, Options{Size: 4, Features: ringFeatures, TableLen: 2})
	a := Area{GPA: 0x10_0000, Len: 1}
	for name, r := range map[string]Request{
		"no area":             {},
		"a table too long":    {Readable: []Area{a, a, a}, Indirect: true},
		"nothing for a table": {Readable: []Area{a}, Indirect: true, Direct: 1},
	} {
		if _, err := d.Add(r); err == nil || errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.Add(Request{Readable: []Area{a, a, a, a, a}}); !errors.Is(err, ErrFull) {
		t.Errorf("more areas than descriptors: %v", err)
	}
	plain := newDriver(t, Options{Size: 4})
	if _, err := plain.Add(Request{Readable: []Area{a}, Indirect: true}); err == nil {
		t.Error("indirect without the feature")
	}
	packed := newDriver(t, Options{Size: 4, Features: ringFeatures | virtio.FeatureRingPacked})
	if _, err := packed.Add(Request{Readable: []Area{a, a}, Indirect: true, Direct: 1}); err == nil {
		t.Error("a packed ring has no table behind direct descriptors")
	}
	for range 4 {
		addOne(t, packed)
	}
	if _, err := packed.Add(Request{Readable: []Area{a}}); !errors.Is(err, ErrFull) || packed.Free() != 0 {
		t.Errorf("a fifth chain in a ring of 4: %v", err)
	}
}

func TestMemoryAddresses(t *testing.T) {
	const a, b = guestmem.GPA(0x1000), guestmem.GPA(0x3000)
	m, err := NewMemory(
		guestmem.RegionInfo{GPA: a, Size: 0x2000, UserAddr: 0x70000, Offset: 0x1000},
		guestmem.RegionInfo{GPA: b, Size: 0x1000, UserAddr: 0x10000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	if n := m.Write(b-2, []byte("abcd")); n != 4 {
		t.Fatalf("wrote %d over the border", n)
	}
	v, err := table.Translate(b-2, 4, make([]guestmem.Iovec, 0, 2))
	if err != nil || len(v) != 2 {
		t.Fatal(v, err)
	}
	var got [4]byte
	if guestmem.CopyIn(got[:], v); string(got[:]) != "abcd" {
		t.Fatalf("a back-end sees %q", got)
	}
	if n := m.Read(b+0xffe, got[:]); n != 2 {
		t.Fatalf("read %d bytes at the end of memory", n)
	}
	if m.Bytes(b-2, 4) != nil || m.VA(0) != 0 || m.VA(b+8) != 0x10008 || m.VA(b-1) != 0x71fff {
		t.Fatal("addresses")
	}
	if len(m.Regions()) != 2 || m.FD(1) < 0 {
		t.Fatal("regions")
	}
	first, err := m.AllocIn(1, 100, 64)
	second, err2 := m.Alloc(0x2000, 0x1000)
	if first != b || second != a || err != nil || err2 != nil {
		t.Fatalf("allocated %#x, %#x (%v, %v)", first, second, err, err2)
	}
	if third, err := m.Alloc(16, 16); third != b+112 || err != nil {
		t.Fatalf("allocated %#x (%v)", third, err)
	}
	if _, err := m.Alloc(0x1000, 1); err == nil {
		t.Fatal("allocated what is not there")
	}
	if _, err := NewDriver(m, Options{Size: 1024}); err == nil {
		t.Fatal("rings that do not fit")
	}
}

func TestWaitTimesOut(t *testing.T) {
	d := newDriver(t, Options{Size: 4})
	for name, wait := range map[string]func() (bool, error){
		"call": func() (bool, error) { return d.WaitCall(0) },
		"kick": func() (bool, error) { return d.WaitKick(0) },
	} {
		if ok, err := wait(); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if err := d.Kick(); err != nil {
		t.Fatal(err)
	}
	if ok, err := d.WaitKick(0); !ok || err != nil {
		t.Fatal(ok, err)
	}
}
