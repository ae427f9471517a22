package virtio_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// The model test lets a random driver and a random device act on one ring, in one goroutine so that a seed tells
// everything. What the driver remembers of its requests is the model: each comes back once, with the right answer.
const (
	modelSteps = 6000
	modelArena = 4096
)

type model struct {
	*rig
	t      *testing.T
	rnd    *rand.Rand
	f      format
	arenas []guestmem.GPA // one per id
	sent   map[uint16]modelRequest
	device []modelChain // fetched, not pushed
	unseen int          // pushed, not published
	added  int
	shown  int // published by the device
	reaped int
}

type modelRequest struct {
	data     []byte
	writable []virtiotest.Area
	written  uint32
}

type modelChain struct {
	token   virtio.Token
	written uint32
}

func TestModel(t *testing.T) {
	for seed := range uint64(24) {
		for _, f := range formats {
			t.Run(fmt.Sprintf("%s/seed=%d", f.name, seed), func(t *testing.T) {
				m := newModel(t, f, rand.New(rand.NewPCG(seed, 7)))
				for range modelSteps {
					m.step()
				}
				m.finish()
			})
		}
	}
}

func newModel(t *testing.T, f format, rnd *rand.Rand) *model {
	size := uint32(1) << rnd.IntN(7)
	base := virtio.Base(rnd.Uint32N(1 << 16))
	if f.packed() {
		size = 1 + rnd.Uint32N(70)
		at := virtio.Base(rnd.Uint32N(size) | rnd.Uint32N(2)<<15)
		base = at | at<<16
	}
	m := &model{
		rig: newRig(t, virtiotest.Options{Size: size, Features: f.features, Base: base, TableLen: 12}, straddling...),
		t:   t, rnd: rnd, f: f, sent: map[uint16]modelRequest{},
	}
	for i := range size { // some cross the border between the regions, some are misaligned
		gpa := m.alloc(t, modelArena)
		if i == size/2 {
			gpa = border - modelArena/2
		}
		m.arenas = append(m.arenas, gpa+guestmem.GPA(rnd.IntN(3)))
	}
	return m
}

func (m *model) step() {
	switch m.rnd.IntN(12) {
	case 0, 1, 2:
		m.send()
	case 3:
		m.publish(m.t)
	case 4, 5:
		m.fetchSome()
	case 6, 7:
		m.pushSome()
	case 8:
		m.show()
	case 9:
		m.reapSome()
	case 10:
		m.notifications()
	case 11:
		if m.rnd.IntN(20) == 0 {
			m.restart()
		} else if m.rnd.IntN(20) == 0 {
			m.remap()
		}
	}
	if m.queue.InFlight() != len(m.device) {
		m.t.Fatalf("%d in flight; want %d", m.queue.InFlight(), len(m.device))
	}
}

// cut divides room bytes into up to n lengths.
func (m *model) cut(n, room int) (lens []uint32) {
	for range m.rnd.IntN(n + 1) {
		k := m.rnd.IntN(room/2 + 1)
		if m.rnd.IntN(3) == 0 {
			k = m.rnd.IntN(17)
		}
		room = max(room-k-5, 0)
		lens = append(lens, uint32(k))
	}
	return lens
}

func (m *model) send() {
	// The id is known only after Add: lay out at 0 and move.
	var r virtiotest.Request
	readable, writable := m.cut(6, modelArena/2), m.cut(6, modelArena/2)
	if len(readable)+len(writable) == 0 {
		readable = []uint32{16}
	}
	spare := m.nextArena()
	if spare < 0 {
		return
	}
	var end guestmem.GPA
	r.Readable, end = areas(m.arenas[spare], readable)
	r.Writable, _ = areas(end, writable)
	r.Indirect = m.f.features.Has(virtio.FeatureIndirectDesc) && m.rnd.IntN(2) == 0
	if n := len(readable) + len(writable); r.Indirect && !m.f.packed() && m.rnd.IntN(3) == 0 {
		r.Direct = m.rnd.IntN(n)
	}
	id, err := m.driver.Add(r)
	if err != nil {
		return
	}
	var data []byte
	for _, a := range r.Readable {
		b := make([]byte, a.Len)
		for i := range b {
			b[i] = byte(m.rnd.Uint32())
		}
		m.memory.Write(a.GPA, b)
		data = append(data, b...)
	}
	// Ids and arenas move together: swap so that the arena used belongs to this id.
	m.arenas[spare], m.arenas[id] = m.arenas[id], m.arenas[spare]
	m.sent[id] = modelRequest{data: data, writable: r.Writable}
	m.added++
}

// nextArena finds an arena that no outstanding request uses.
func (m *model) nextArena() int {
	for i := range m.arenas {
		if _, busy := m.sent[uint16(i)]; !busy {
			return i
		}
	}
	return -1
}

// fetchSome fetches, answers at once and completes later. The device writes less than it could now and then.
func (m *model) fetchSome() {
	e := &echo{queue: m.queue, chain: m.chain, buf: make([]byte, modelArena)}
	for range m.rnd.IntN(8) {
		ok, err := m.next()
		if err != nil {
			m.t.Fatal(err)
		}
		if !ok {
			return
		}
		token, limit := m.chain.Token, m.chain.WritableLen
		written := e.serve()
		if written != uint32(limit) {
			m.t.Fatalf("wrote %d of %d", written, limit)
		}
		if m.rnd.IntN(4) == 0 {
			written = m.rnd.Uint32N(written + 1)
		}
		m.device = append(m.device, modelChain{token, written})
	}
}

// pushSome completes in random order.
func (m *model) pushSome() {
	for range m.rnd.IntN(8) {
		if len(m.device) == 0 {
			return
		}
		i := m.rnd.IntN(len(m.device))
		c := m.device[i]
		m.device[i] = m.device[len(m.device)-1]
		m.device = m.device[:len(m.device)-1]
		q := m.sent[c.token.ID]
		q.written = c.written
		m.sent[c.token.ID] = q
		m.queue.Push(c.token, c.written)
		m.unseen++
	}
}

func (m *model) show() {
	if _, err := m.queue.Publish(); err != nil {
		m.t.Fatal(err)
	}
	m.shown, m.unseen = m.shown+m.unseen, 0
}

func (m *model) reapSome() {
	for {
		c, ok, err := m.driver.Reap()
		if err != nil {
			m.t.Fatal(err)
		}
		if !ok {
			break
		}
		q, ok := m.sent[c.ID]
		if !ok || c.Len != q.written {
			m.t.Fatalf("completion %+v; want len %d (%v)", c, q.written, ok)
		}
		delete(m.sent, c.ID)
		m.reaped++
		m.checkData(q)
	}
	if m.reaped != m.shown {
		m.t.Fatalf("reaped %d of %d that the device has published", m.reaped, m.shown)
	}
}

func (m *model) checkData(q modelRequest) {
	var got []byte
	for _, a := range q.writable {
		b := make([]byte, a.Len)
		m.memory.Read(a.GPA, b)
		got = append(got, b...)
	}
	if !bytes.Equal(got, answer(q.data, len(got))) {
		m.t.Fatalf("wrong answer to %d bytes", len(q.data))
	}
}

func (m *model) notifications() {
	switch m.rnd.IntN(4) {
	case 0:
		m.queue.DisableKicks()
	case 1:
		if got := m.queue.EnableKicks(); got != m.queue.Pending() {
			m.t.Fatal("EnableKicks and Pending differ")
		}
	case 2:
		m.driver.DisableCalls()
	case 3:
		m.driver.EnableCalls()
	}
}

// restart stops the queue and goes on with another one, as when a guest is paused and continued.
func (m *model) restart() {
	for len(m.device) > 0 {
		m.pushSome()
	}
	base, err := m.queue.Stop()
	if err != nil {
		m.t.Fatal(err)
	}
	m.shown, m.unseen = m.shown+m.unseen, 0 // Stop publishes
	m.succeed(m.t, base)
}

func (m *model) remap() {
	table, err := m.memory.Table()
	mustNot(m.t, err)
	mustNot(m.t, m.queue.SetMemory(table))
	m.t.Cleanup(table.Release) // chains in flight may still be written to
}

// finish drains everything.
func (m *model) finish() {
	m.publish(m.t)
	for len(m.sent) > 0 {
		m.fetchSome()
		m.pushSome()
		m.show()
		m.reapSome()
	}
	if m.driver.Free() != m.driver.Size() || m.driver.Outstanding() != 0 || m.queue.Pending() || m.added != m.reaped {
		m.t.Fatalf("left over: %d of %d descriptors free, %d added, %d reaped", m.driver.Free(), m.driver.Size(), m.added, m.reaped)
	}
	if m.added < 50 {
		m.t.Fatalf("only %d requests", m.added)
	}
}
