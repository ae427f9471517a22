package virtio_test

import (
	"testing"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// framings are lengths of readable and writable areas. Descriptor boundaries mean nothing: all are legal.
var framings = []struct {
	name               string
	readable, writable []uint32
}{
	{"read: header, data, status", []uint32{16}, []uint32{4096, 1}},
	{"write: header, data, status", []uint32{16, 4096}, []uint32{1}},
	{"header split", []uint32{8, 8}, []uint32{512, 1}},
	{"header byte by byte", []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []uint32{1}},
	{"header and data in one", []uint32{16 + 4096}, []uint32{1}},
	{"data and status in one", []uint32{16}, []uint32{4097}},
	{"header with a bit of data", []uint32{20, 4092}, []uint32{1}},
	{"status split from nothing", []uint32{16}, []uint32{1}},
	{"only readable", []uint32{16}, nil},
	{"only writable", nil, []uint32{64}},
	{"empty areas everywhere", []uint32{0, 16, 0, 4, 0}, []uint32{0, 512, 0, 1, 0}},
	{"only empty areas", []uint32{0}, []uint32{0}},
	{"odd lengths", []uint32{3, 13, 511}, []uint32{7, 1021, 1, 1}},
	{"large", []uint32{16, 1 << 19}, []uint32{1 << 20}},
}

// placement decides where areas lie.
type placement struct {
	name    string
	regions []guestmem.RegionInfo
	at      guestmem.GPA // where the area list begins; 0: allocated
}

// straddling are two regions adjacent for the guest, with different memfds, offsets and front-end addresses.
var straddling = []guestmem.RegionInfo{
	{GPA: 0x10_0000, Size: 16 << 20, UserAddr: 0x7f00_0000_0000, Offset: 0x3000},
	{GPA: 0x110_0000, Size: 16 << 20, UserAddr: 0x7e00_0000_0000, Offset: 0},
}

const border = guestmem.GPA(0x110_0000)

var placements = []placement{
	{name: "one region"},
	{name: "unaligned", at: 0x100_0003},
	{name: "over a border", regions: straddling, at: border - 9},
}

func TestFraming(t *testing.T) {
	for _, f := range formats {
		for _, p := range placements {
			t.Run(f.name+"/"+p.name+"/direct", func(t *testing.T) { frameAll(t, f, p, false) })
			t.Run(f.name+"/"+p.name+"/indirect", func(t *testing.T) { frameAll(t, f, p, true) })
		}
	}
}

func frameAll(t *testing.T, f format, p placement, indirect bool) {
	r := newRig(t, virtiotest.Options{Size: 32, Features: f.features}, p.regions...)
	at := p.at
	if at == 0 {
		at = r.alloc(t, 4<<20)
	}
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) { frame(t, r, at, fr.readable, fr.writable, indirect) })
	}
}

// areas lays lengths out one behind the other, with gaps so that they cannot be taken for one.
func areas(at guestmem.GPA, lens []uint32) (list []virtiotest.Area, end guestmem.GPA) {
	for _, n := range lens {
		list = append(list, virtiotest.Area{GPA: at, Len: n})
		at += guestmem.GPA(n) + 5
	}
	return list, at
}

// frame sends one chain and checks what the device sees and the driver gets.
func frame(t *testing.T, r *rig, at guestmem.GPA, readable, writable []uint32, indirect bool) {
	var req virtiotest.Request
	req.Readable, at = areas(at, readable)
	req.Writable, _ = areas(at, writable)
	req.Indirect = indirect
	var sent []byte
	for i, a := range req.Readable {
		b := answer([]byte{byte(i)}, int(a.Len))
		r.memory.Write(a.GPA, b)
		sent = append(sent, b...)
	}
	id := r.add(t, req)
	r.publish(t)
	e := &echo{queue: r.queue, chain: r.chain, buf: make([]byte, 1<<20)}
	if n, err := e.turn(2); n != 1 || err != nil {
		t.Fatalf("served %d chains, %v", n, err)
	}
	if c := r.chain; c.ReadableLen != uint64(len(sent)) || c.ReadableLen != guestmem.TotalLen(c.Readable) ||
		c.WritableLen != guestmem.TotalLen(c.Writable) {
		t.Fatalf("lengths %d/%d", c.ReadableLen, c.WritableLen)
	}
	if _, err := r.queue.Publish(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, a := range req.Writable {
		b := make([]byte, a.Len)
		r.memory.Read(a.GPA, b)
		got = append(got, b...)
	}
	if c := r.reap(t); c.ID != id || c.Len != uint32(len(got)) {
		t.Fatalf("completion %+v; want id %d, len %d", c, id, len(got))
	}
	checkAnswer(t, sent, got)
	if r.driver.Free() != r.driver.Size() || r.driver.Outstanding() != 0 || r.queue.InFlight() != 0 {
		t.Fatal("descriptors or records left")
	}
}

// TestStraddlingArea pins that one descriptor becomes two segments.
func TestStraddlingArea(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 4, Features: modern}, straddling...)
	r.add(t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: border - 100, Len: 300}}})
	r.publish(t)
	r.fetch(t)
	if w := r.chain.Writable; len(w) != 2 || w[0].Len != 100 || w[1].Len != 200 {
		t.Fatalf("segments %+v", w)
	}
	r.queue.Push(r.chain.Token, 0)
}

// TestIndirectTables covers tables longer than the ring, misaligned ones, ones that cross a border, and those behind
// direct descriptors.
func TestIndirectTables(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, virtiotest.Options{Size: 2, Features: f.features, TableLen: 1024}, straddling...)
			lens := make([]uint32, 1024)
			for i := range lens {
				lens[i] = uint32(i % 40)
			}
			for _, split := range []int{0, 1, 500, 1024} {
				frame(t, r, border-2000, lens[:split], lens[split:], true)
			}
			at := r.alloc(t, 4096)
			for _, table := range []guestmem.GPA{at + 1, at + 8, border - 24, border - 17} {
				checkTableAt(t, r, f, table)
			}
		})
	}
}

// checkTableAt offers a handmade table of three entries.
func checkTableAt(t *testing.T, r *rig, f format, table guestmem.GPA) {
	t.Helper()
	r.driver.Reset(0)
	q, err := r.driver.Activate(r.table)
	mustNot(t, err)
	defer func() { mustNot(t, q.Close()) }()
	b := make([]byte, 0, 48)
	for i, flags := range []byte{virtiotest.DescNext, virtiotest.DescNext | virtiotest.DescWrite, virtiotest.DescWrite} {
		next := byte(i + 1)
		if f.packed() {
			b = append(b, 0, byte(i), 0x20, 0, 0, 0, 0, 0, byte(16*i+16), 0, 0, 0, 0xaa, 0xaa, flags, 0)
		} else {
			b = append(b, 0, byte(i), 0x20, 0, 0, 0, 0, 0, byte(16*i+16), 0, 0, 0, flags, 0, next, 0)
		}
	}
	if n := r.memory.Write(table, b); n != len(b) {
		t.Fatalf("wrote %d bytes of the table", n)
	}
	if f.packed() {
		r.driver.Packed().SetDesc(0, pk(table, 48, 77, indirect|write|lap1))
	} else {
		r.driver.Split().SetDesc(0, at(table, 48, indirect|write, 0))
		r.driver.Split().Offer(0)
	}
	c := virtio.NewChain()
	if ok, err := q.Next(c); !ok || err != nil {
		t.Fatalf("table at %#x: %v, %v", table, ok, err)
	}
	if len(c.Readable) != 1 || len(c.Writable) != 2 || c.ReadableLen != 16 || c.WritableLen != 80 {
		t.Fatalf("table at %#x: %+v", table, c)
	}
	q.Push(c.Token, 0)
}

// TestTableBehindDirectDescriptors is legal in split rings (virtio-v1.3 2.7.5.3.2).
func TestTableBehindDirectDescriptors(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 8, Features: modern})
	at := r.alloc(t, 8192)
	for direct := range 5 {
		r.add(t, virtiotest.Request{
			Readable: []virtiotest.Area{{GPA: at, Len: 16}, {GPA: at + 16, Len: 10}},
			Writable: []virtiotest.Area{{GPA: at + 32, Len: 20}, {GPA: at + 64, Len: 30}, {GPA: at + 128, Len: 1}},
			Indirect: true, Direct: direct,
		})
		r.publish(t)
		token := r.fetch(t)
		if c := r.chain; len(c.Readable) != 2 || len(c.Writable) != 3 || c.WritableLen != 51 {
			t.Fatalf("%d direct: %+v", direct, c)
		}
		r.queue.Push(token, 51)
		_, _ = r.queue.Publish()
		if r.reap(t); r.driver.Free() != 8 {
			t.Fatal("descriptors leaked")
		}
	}
}
