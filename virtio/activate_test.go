package virtio_test

import (
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// activation is a Config to be spoiled, and the region it lies in.
type activation struct {
	virtio.Config
	start, end guestmem.FrontendVA
}

func newActivation(t *testing.T, features virtio.Features) activation {
	t.Helper()
	r := newRig(t, virtiotest.Options{Size: 16, Features: features})
	c, err := r.driver.Config(r.table)
	mustNot(t, err)
	info := r.memory.Regions()[0]
	return activation{c, info.UserAddr, info.UserAddr + guestmem.FrontendVA(info.Size)}
}

func TestActivateRefuses(t *testing.T) {
	anySplit, anyPacked := format{features: modern}, format{features: modern | virtio.FeatureRingPacked}
	for _, tc := range []struct {
		name   string
		f      format
		change func(c *activation)
	}{
		{"size 0", anySplit, func(c *activation) { c.Size = 0 }},
		{"size above 32768", anySplit, func(c *activation) { c.Size = 65536 }},
		{"split size no power of two", anySplit, func(c *activation) { c.Size = 12 }},
		{"packed size above 32768", anyPacked, func(c *activation) { c.Size = 32769 }},
		{"no memory", anySplit, func(c *activation) { c.Memory = nil }},
		{"descriptor table misaligned", anySplit, func(c *activation) { c.Desc += 8 }},
		{"available ring misaligned", anySplit, func(c *activation) { c.Driver++ }},
		{"used ring misaligned", anySplit, func(c *activation) { c.Device += 2 }},
		{"descriptor ring misaligned", anyPacked, func(c *activation) { c.Desc += 4 }},
		{"driver event misaligned", anyPacked, func(c *activation) { c.Driver += 2 }},
		{"device event misaligned", anyPacked, func(c *activation) { c.Device += 2 }},
		{"descriptor table ends outside", anySplit, func(c *activation) { c.Desc = c.end - 16*16 + 16 }},
		{"available ring ends outside", anySplit, func(c *activation) { c.Driver = c.end - 6 - 2*16 + 2 }},
		{"used ring ends outside", anySplit, func(c *activation) { c.Device = c.end - 8*16 - 4 }},
		{"descriptor ring ends outside", anyPacked, func(c *activation) { c.Desc = c.end - 16*16 + 16 }},
		{"driver event outside", anyPacked, func(c *activation) { c.Driver = c.end }},
		{"device event below", anyPacked, func(c *activation) { c.Device = c.start - 4 }},
		{"descriptor table nowhere", anySplit, func(c *activation) { c.Desc = 0 }},
		{"extent around the address space", anySplit, func(c *activation) { c.Desc = 1<<64 - 16 }},
		{"split base of 17 bits", anySplit, func(c *activation) { c.Base = 1 << 16 }},
		{"packed base outside of the ring", anyPacked, func(c *activation) { c.Base = 16 | 1<<15 | 1<<31 }},
		{"packed used base outside of the ring", anyPacked, func(c *activation) { c.Base = 1<<15 | 16<<16 | 1<<31 }},
		{"packed base with used ahead", anyPacked, func(c *activation) { c.Base = 1 | 1<<15 | 2<<16 | 1<<31 }},
		{"packed base more than a lap ahead", anyPacked, func(c *activation) { c.Base = 2 | 1<<15 | 1<<16 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newActivation(t, tc.f.features)
			c := a.Config
			tc.change(&a)
			if q, err := virtio.Activate(a.Config); err == nil {
				_ = q.Close()
				t.Fatal("activated")
			} else {
				t.Log(err)
			}
			// The eventfds are still the caller's.
			for _, fd := range []int{c.Kick, c.Call, c.Err} {
				mustNot(t, unix.Close(fd))
			}
		})
	}
}

// TestActivateAtTheEdge: extents that end with the region are fine, and so are unusual alignments.
func TestActivateAtTheEdge(t *testing.T) {
	for _, edge := range []func(c *activation){
		func(c *activation) { c.Desc = c.end - 16*16 },
		func(c *activation) { c.Driver = c.end - 6 - 2*16 },
		func(c *activation) { c.Driver = c.start + 2 },
		func(c *activation) { c.Device = c.end - 8 - 8*16 },
	} {
		a := newActivation(t, modern)
		edge(&a)
		q, err := virtio.Activate(a.Config)
		mustNot(t, err)
		mustNot(t, q.Close())
	}
}

// TestActivateRefusesRingsOverARegionsEnd: adjacent regions do not make one extent, whichever of the parts it is.
func TestActivateRefusesRingsOverARegionsEnd(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern}, straddling...)
	for i := range 3 {
		c, err := r.driver.Config(r.table)
		mustNot(t, err)
		va := r.memory.VA(border - 16)
		*[]*guestmem.FrontendVA{&c.Desc, &c.Driver, &c.Device}[i] = va
		if q, err := virtio.Activate(c); err == nil {
			_ = q.Close()
			t.Fatal("activated")
		}
		for _, fd := range []int{c.Kick, c.Call, c.Err} {
			mustNot(t, unix.Close(fd))
		}
	}
}

func TestActivateOnTruncatedMemory(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern})
	mustNot(t, r.memory.Truncate(0, 0))
	q, err := r.driver.Activate(r.table)
	var fault *guestmem.FaultError
	if !errors.As(err, &fault) {
		if q != nil {
			_ = q.Close()
		}
		t.Fatalf("err = %v; want a FaultError", err)
	}
}
