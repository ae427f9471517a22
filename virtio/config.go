package virtio

import (
	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio/guestmem"
)

// MaxSize is the largest queue size (virtio-v1.3 2.7, 2.8.10.1).
const MaxSize = 32768

// Config is what a transport knows about a ring. Activate makes a Queue of it.
type Config struct {
	Index    int
	Size     uint32
	Features Features
	// Where the rings are. Split: descriptor table, available ring, used ring. Packed: descriptor ring, driver and
	// device event suppression structure.
	Desc, Driver, Device guestmem.FrontendVA
	Base                 Base
	Memory               *guestmem.Table
	// Inflight is where the queue's in-flight record is, nil for one that ends with the queue. A record with a past beats
	// Base: what a predecessor had fetched and not completed is returned by Next first.
	Inflight *InflightConfig
	// Eventfds, -1 for none. Activate takes them over when it succeeds.
	Kick, Call, Err int
	// Where to mark what is written of the rings, nil: nowhere. See Queue.SetLog.
	Log   *guestmem.DirtyLog
	LogAt guestmem.GPA
}

// Alignment that the specification demands of each part (virtio-v1.3 2.7, 2.8.10.1).
const (
	descAlign        = 16
	availAlign       = 2
	usedAlign        = 4
	eventAlign       = 4
	packedEventBytes = 4
)

// addresses is where the front-end sees the rings.
type addresses struct {
	desc, driver, device guestmem.FrontendVA
}

// places is where we see them.
type places struct {
	desc, driver, device uint64
	descGPA              guestmem.GPA
}

func (c *Config) check() error {
	switch {
	case c.Memory == nil:
		return errors.New("no memory table")
	case c.Size == 0 || c.Size > MaxSize:
		return errors.Errorf("queue size %d is not within 1..%d", c.Size, MaxSize)
	case !c.Features.Has(FeatureRingPacked) && c.Size&(c.Size-1) != 0:
		return errors.Errorf("queue size %d of a split ring is not a power of two", c.Size)
	}
	return nil
}

// locate translates the whole extent of each part and checks its alignment, there and here.
func (a addresses) locate(m *guestmem.Table, size uint32, packed bool) (p places, err error) {
	n := uint64(size)
	if packed {
		return a.locateParts(m, [3]extent{
			{"descriptor ring", descriptorSize * n, descAlign},
			{"driver event suppression", packedEventBytes, eventAlign},
			{"device event suppression", packedEventBytes, eventAlign},
		})
	}
	// The event fields at the end belong to the rings whether or not EVENT_IDX is used (virtio-v1.3 2.7).
	return a.locateParts(m, [3]extent{
		{"descriptor table", descriptorSize * n, descAlign},
		{"available ring", availRing + availEntry*n + 2, availAlign},
		{"used ring", usedRing + usedEntry*n + 2, usedAlign},
	})
}

// extent is one part of a ring.
type extent struct {
	name        string
	size, align uint64
}

func (a addresses) locateParts(m *guestmem.Table, parts [3]extent) (p places, err error) {
	host := [3]*uint64{&p.desc, &p.driver, &p.device}
	for i, va := range [3]guestmem.FrontendVA{a.desc, a.driver, a.device} {
		part := parts[i]
		addr, gpa, err := m.HostAddr(va, part.size)
		if err != nil {
			return places{}, errors.Wrap(err, part.name)
		}
		// Host alignment differs from the front-end's only for regions that are not page-aligned; atomics need ours.
		if (uint64(va)|addr)%part.align != 0 {
			return places{}, errors.Errorf("%s at uva=%#x is not aligned to %d bytes", part.name, va, part.align)
		}
		*host[i] = addr
		if i == 0 {
			p.descGPA = gpa
		}
	}
	return p, nil
}
