package virtio_test

import (
	"runtime/debug"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a driver, its memory and the queue of the device.
type rig struct {
	memory *virtiotest.Memory
	table  *guestmem.Table
	driver *virtiotest.Driver
	queue  *virtio.Queue
	chain  *virtio.Chain
}

// format names what the table-driven tests run with.
type format struct {
	name     string
	features virtio.Features
}

const modern = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

var formats = []format{
	{"split", modern},
	{"packed", modern | virtio.FeatureRingPacked},
	{"split without event index", modern &^ virtio.FeatureEventIdx},
	{"packed without event index", modern&^virtio.FeatureEventIdx | virtio.FeatureRingPacked},
	{"legacy", virtio.FeatureNotifyOnEmpty | virtio.FeatureAnyLayout | virtio.FeatureIndirectDesc},
}

func (f format) packed() bool { return f.features.Has(virtio.FeatureRingPacked) }

// newRig makes one queue in 32 MiB of RAM, or in the regions given.
func newRig(t testing.TB, o virtiotest.Options, regions ...guestmem.RegionInfo) *rig {
	t.Helper()
	if len(regions) == 0 {
		regions = []guestmem.RegionInfo{virtiotest.RAM(32 << 20)}
	}
	m, err := virtiotest.NewMemory(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustNot(t, m.Close()) })
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Release)
	r := &rig{memory: m, table: table, chain: virtio.NewChain()}
	r.driver, r.queue = r.addQueue(t, o)
	return r
}

// addQueue makes one more queue in the same memory.
func (r *rig) addQueue(t testing.TB, o virtiotest.Options) (*virtiotest.Driver, *virtio.Queue) {
	t.Helper()
	d, err := virtiotest.NewDriver(r.memory, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustNot(t, d.Close()) })
	q, err := d.Activate(r.table)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustNot(t, q.Close()) })
	return d, q
}

// succeed replaces the rig's queue by one that begins at base.
func (r *rig) succeed(t testing.TB, base virtio.Base) {
	t.Helper()
	mustNot(t, r.queue.Close())
	c, err := r.driver.Config(r.table)
	mustNot(t, err)
	c.Base = base
	q, err := virtio.Activate(c)
	mustNot(t, err)
	t.Cleanup(func() { mustNot(t, q.Close()) })
	q.SetEnabled(true)
	r.queue = q
}

func mustNot(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alloc takes n bytes of guest memory.
func (r *rig) alloc(t testing.TB, n uint64) guestmem.GPA {
	t.Helper()
	gpa, err := r.memory.Alloc(n, 16)
	mustNot(t, err)
	return gpa
}

// next is Next with a guard, as a device calls it.
func (r *rig) next() (ok bool, err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return r.queue.Next(r.chain)
}

// add makes a chain available, without a kick.
func (r *rig) add(t testing.TB, q virtiotest.Request) uint16 {
	t.Helper()
	id, err := r.driver.Add(q)
	mustNot(t, err)
	return id
}

// publish makes what was added available and tells whether the device was kicked.
func (r *rig) publish(t testing.TB) bool {
	t.Helper()
	kicked, err := r.driver.Publish()
	mustNot(t, err)
	return kicked
}

// fetch expects a chain.
func (r *rig) fetch(t testing.TB) virtio.Token {
	t.Helper()
	ok, err := r.next()
	if err != nil || !ok {
		t.Fatalf("Next = %v, %v; want a chain", ok, err)
	}
	return r.chain.Token
}

// reap expects a completion.
func (r *rig) reap(t testing.TB) virtiotest.Completion {
	t.Helper()
	c, ok, err := r.driver.Reap()
	if err != nil || !ok {
		t.Fatalf("Reap = %v, %v; want a completion", ok, err)
	}
	return c
}

// stop ends the queue, of which tokens are in flight.
func (r *rig) stop(t testing.TB, tokens []virtio.Token) {
	t.Helper()
	if r.queue.InFlight() != len(tokens) {
		t.Fatalf("%d in flight; want %d", r.queue.InFlight(), len(tokens))
	}
	for _, token := range tokens {
		r.queue.Push(token, 0)
	}
	if _, err := r.queue.Stop(); err != nil {
		t.Fatal(err)
	}
}
