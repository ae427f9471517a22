package virtio_test

import (
	"runtime/debug"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

const (
	next     = virtiotest.DescNext
	write    = virtiotest.DescWrite
	indirect = virtiotest.DescIndirect
)

// wantBroken expects that the next fetch breaks the queue for that reason, for good and with one signal.
func wantBroken(t *testing.T, r *rig, reason virtio.Reason) {
	t.Helper()
	var chain *virtio.ChainError
	for range 2 {
		ok, err := r.next()
		if ok || !errors.As(err, &chain) || chain.Reason != reason {
			t.Fatalf("Next = %v, %v; want %q", ok, err, reason)
		}
	}
	if n, err := sys.Drain(r.driver.ErrFD()); n != 1 || err != nil {
		t.Fatalf("err eventfd signalled %d times (%v)", n, err)
	}
	if r.queue.Pending() || !errors.Is(r.queue.Err(), chain) || chain.Error() == "" {
		t.Fatal("not broken")
	}
}

// hostileMemory is what the descriptors of hostile chains may point to.
type hostileMemory struct {
	buf   guestmem.GPA // 64 KiB that exist
	table guestmem.GPA // room for an indirect table of 1100 entries
	end   guestmem.GPA // the first address behind guest memory
}

func layHostile(t *testing.T, r *rig) hostileMemory {
	info := r.memory.Regions()[0]
	return hostileMemory{r.alloc(t, 64<<10), r.alloc(t, 16*1100), info.GPA + guestmem.GPA(info.Size)}
}

type splitHostile struct {
	name   string
	size   uint32 // 0: 16
	plain  bool   // without INDIRECT_DESC
	reason virtio.Reason
	set    func(s virtiotest.RawSplit, m hostileMemory)
}

func at(gpa guestmem.GPA, n uint32, flags, follow uint16) virtiotest.Desc {
	return virtiotest.Desc{Addr: uint64(gpa), Len: n, Flags: flags, Next: follow}
}

var hostileSplit = []splitHostile{
	{"loop in next", 0, false, virtio.ReasonChainLength, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 1, next, 1))
		s.SetDesc(1, at(m.buf, 1, next, 0))
		s.Offer(0)
	}},
	{"descriptor that follows itself", 0, false, virtio.ReasonChainLength, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(3, at(m.buf, 1, next, 3))
		s.Offer(3)
	}},
	{"loop of empty descriptors", 0, false, virtio.ReasonChainLength, func(s virtiotest.RawSplit, _ hostileMemory) {
		s.SetDesc(0, at(0, 0, next, 0))
		s.Offer(0)
	}},
	{"next out of range", 0, false, virtio.ReasonNextRange, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 1, next, 16))
		s.Offer(0)
	}},
	{"head out of range", 0, false, virtio.ReasonHeadRange, func(s virtiotest.RawSplit, _ hostileMemory) { s.Offer(16) }},
	{"head 65535", 0, false, virtio.ReasonHeadRange, func(s virtiotest.RawSplit, _ hostileMemory) { s.Offer(65535) }},
	{"avail index jump", 0, false, virtio.ReasonAvailJump, func(s virtiotest.RawSplit, _ hostileMemory) { s.SetAvailIdx(17) }},
	{"avail index backwards", 0, false, virtio.ReasonAvailJump, func(s virtiotest.RawSplit, _ hostileMemory) { s.SetAvailIdx(65535) }},
	{"address outside memory", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, _ hostileMemory) {
		s.SetDesc(0, at(0, 1, 0, 0))
		s.Offer(0)
	}},
	{"buffer that ends outside", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.end-10, 11, 0, 0))
		s.Offer(0)
	}},
	{"address plus length overflow", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, _ hostileMemory) {
		s.SetDesc(0, at(1<<64-16, 32, 0, 0))
		s.Offer(0)
	}},
	{"4 GiB - 1 at once", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 1<<32-1, write, 0))
		s.Offer(0)
	}},
	{"writable before readable", 0, false, virtio.ReasonOrder, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 1, next|write, 1))
		s.SetDesc(1, at(m.buf, 1, 0, 0))
		s.Offer(0)
	}},
	{"empty writable before readable", 0, false, virtio.ReasonOrder, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 0, next|write, 1))
		s.SetDesc(1, at(m.buf, 1, 0, 0))
		s.Offer(0)
	}},
	{"too many segments", 2048, false, virtio.ReasonSegments, func(s virtiotest.RawSplit, m hostileMemory) {
		for i := range virtio.MaxSegments + 1 {
			s.SetDesc(i, at(m.buf, 1, next, uint16(i+1)))
		}
		s.Offer(0)
	}},
	{"more than 4 GiB", 256, false, virtio.ReasonBytes, func(s virtiotest.RawSplit, m hostileMemory) {
		for i := range 250 {
			s.SetDesc(i, at(m.end-20<<20, 20<<20, next, uint16(i+1)))
		}
		s.SetDesc(250, at(m.buf, 1, 0, 0))
		s.Offer(0)
	}},
	{"indirect without the feature", 0, true, virtio.ReasonIndirectUnsupported, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 16, indirect, 0))
		s.Offer(0)
	}},
	{"indirect with next", 0, false, virtio.ReasonIndirectNext, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 16, indirect|next, 1))
		s.Offer(0)
	}},
	{"indirect nested", 0, false, virtio.ReasonIndirectNested, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetTable(m.table, at(m.buf, 1, next, 1), at(m.table, 16, indirect, 0))
		s.SetDesc(0, at(m.table, 32, indirect, 0))
		s.Offer(0)
	}},
	{"indirect loop", 0, false, virtio.ReasonChainLength, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetTable(m.table, at(m.buf, 1, next, 1), at(m.buf, 1, next, 0))
		s.SetDesc(0, at(m.table, 32, indirect, 0))
		s.Offer(0)
	}},
	{"indirect next out of range", 0, false, virtio.ReasonNextRange, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetTable(m.table, at(m.buf, 1, next, 2), at(m.buf, 1, 0, 0), at(m.buf, 1, 0, 0))
		s.SetDesc(0, at(m.table, 32, indirect, 0))
		s.Offer(0)
	}},
	{"indirect of length 0", 0, false, virtio.ReasonTableSize, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 0, indirect, 0))
		s.Offer(0)
	}},
	{"indirect of 15 bytes", 0, false, virtio.ReasonTableSize, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 15, indirect, 0))
		s.Offer(0)
	}},
	{"indirect of 40 bytes", 0, false, virtio.ReasonTableSize, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 40, indirect, 0))
		s.Offer(0)
	}},
	{"indirect of 1025 entries", 0, false, virtio.ReasonTableLength, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 1025*16, indirect, 0))
		s.Offer(0)
	}},
	{"indirect of nearly 4 GiB", 0, false, virtio.ReasonTableLength, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.table, 1<<32-16, indirect, 0))
		s.Offer(0)
	}},
	{"indirect table outside memory", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.end-16, 32, indirect, 0))
		s.Offer(0)
	}},
	{"address outside memory in a table", 0, false, virtio.ReasonUnmapped, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetTable(m.table, at(m.end, 1, 0, 0))
		s.SetDesc(0, at(m.table, 16, indirect, 0))
		s.Offer(0)
	}},
	{"writable before readable over a table's border", 0, false, virtio.ReasonOrder, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetTable(m.table, at(m.buf, 1, 0, 0))
		s.SetDesc(0, at(m.buf, 1, write|next, 1))
		s.SetDesc(1, at(m.table, 16, indirect, 0))
		s.Offer(0)
	}},
	{"same head twice in one batch", 0, false, virtio.ReasonHeadInFlight, func(s virtiotest.RawSplit, m hostileMemory) {
		s.SetDesc(0, at(m.buf, 1, write, 0))
		s.Offer(0, 0)
	}},
}

func TestHostileSplit(t *testing.T) {
	for _, tc := range hostileSplit {
		t.Run(tc.name, func(t *testing.T) {
			features := modern
			if tc.plain {
				features &^= virtio.FeatureIndirectDesc
			}
			r := newRig(t, virtiotest.Options{Size: max(tc.size, 16), Features: features, TableLen: 1})
			tc.set(r.driver.Split(), layHostile(t, r))
			breakAfterGoodOnes(t, r, tc.reason)
		})
	}
}

// breakAfterGoodOnes fetches what is good in front of the bad chain, and looks at the queue afterwards.
func breakAfterGoodOnes(t *testing.T, r *rig, reason virtio.Reason) {
	t.Helper()
	var tokens []virtio.Token
	for {
		ok, err := r.next()
		if err != nil {
			break
		}
		if !ok {
			t.Fatal("the queue does not notice")
		}
		tokens = append(tokens, r.chain.Token)
	}
	wantBroken(t, r, reason)
	r.stop(t, tokens)
}

// TestHeadReusedInFlight: after completion the head is the driver's again, before it is not.
func TestHeadReusedInFlight(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern})
	s := r.driver.Split()
	s.SetDesc(5, at(r.alloc(t, 64), 1, write, 0))
	for range 40 {
		s.Offer(5)
		token := r.fetch(t)
		r.queue.Push(token, 1)
		if _, err := r.queue.Publish(); err != nil {
			t.Fatal(err)
		}
	}
	s.Offer(5)
	token := r.fetch(t)
	s.Offer(5)
	wantBroken(t, r, virtio.ReasonHeadInFlight)
	r.queue.Push(token, 1)
}

// TestWholeRingOfHeads is the legal maximum of an avail index jump.
func TestWholeRingOfHeads(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 16, Features: modern, Base: 65530})
	s := r.driver.Split()
	var heads []uint16
	for i := range uint16(16) {
		s.SetDesc(int(i), at(r.alloc(t, 16), 1, write, 0))
		heads = append(heads, i)
	}
	s.Offer(heads...)
	for range heads {
		r.queue.Push(r.fetch(t), 1)
	}
}

// TestLongestChains are legal: one descriptor less than what breaks the queue.
func TestLongestChains(t *testing.T) {
	r := newRig(t, virtiotest.Options{Size: 2048, Features: modern, TableLen: 1})
	m, s := layHostile(t, r), r.driver.Split()
	for i := range virtio.MaxSegments {
		s.SetDesc(i, at(m.buf, 1, next, uint16(i+1)))
	}
	s.SetDesc(virtio.MaxSegments, at(m.buf, 0, 0, 0))
	s.Offer(0)
	token := r.fetch(t)
	if len(r.chain.Readable) != virtio.MaxSegments || r.chain.ReadableLen != virtio.MaxSegments {
		t.Fatalf("%d segments", len(r.chain.Readable))
	}
	r.queue.Push(token, 0)
	// As many bytes as a used length can tell.
	half := uint32(16 << 20)
	for i := range 255 {
		s.SetDesc(i, at(m.end-16<<20, half, next, uint16(i+1)))
	}
	s.SetDesc(255, at(m.end-16<<20, half-1, 0, 0))
	s.Offer(0)
	if token = r.fetch(t); r.chain.ReadableLen != 1<<32-1 {
		t.Fatalf("%d bytes", r.chain.ReadableLen)
	}
	r.queue.Push(token, 0)
}

// TestTruncatedMemory: the front-end shrinks the memfd under a running queue.
func TestTruncatedMemory(t *testing.T) {
	for _, f := range formats {
		for _, step := range []string{"Next", "Push", "Publish", "EnableKicks", "DisableKicks", "Stop"} {
			t.Run(f.name+"/"+step, func(t *testing.T) { truncate(t, f, step) })
		}
	}
}

func truncate(t *testing.T, f format, step string) {
	r := newRig(t, virtiotest.Options{Size: 8, Features: f.features})
	for range 3 {
		r.add(t, virtiotest.Request{Writable: []virtiotest.Area{{GPA: r.alloc(t, 1), Len: 1}}})
	}
	r.publish(t)
	a, b := r.fetch(t), r.fetch(t)
	if step == "Publish" || step == "Stop" {
		r.queue.Push(a, 1)
		r.queue.Push(b, 1)
	}
	mustNot(t, r.memory.Truncate(0, 0))
	err := truncatedStep(r, step, a, b)
	var fault *guestmem.FaultError
	if !errors.As(err, &fault) {
		t.Fatalf("err = %v; want a FaultError", err)
	}
	r.queue.Break(err)
	if _, err := r.next(); !errors.As(err, &fault) || r.queue.Pending() || r.queue.EnableKicks() {
		t.Fatalf("not broken: %v", err)
	}
	endTruncated(t, r, step, a, b)
}

// truncatedStep calls a method that touches memory which is not there.
func truncatedStep(r *rig, step string, a, b virtio.Token) (err error) {
	defer guestmem.Recover(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	switch step {
	case "Next":
		_, err = r.queue.Next(r.chain)
	case "Push": // packed rings keep the first element back
		r.queue.Push(a, 1)
		r.queue.Push(b, 1)
	case "Publish":
		_, err = r.queue.Publish()
	case "EnableKicks":
		r.queue.EnableKicks()
	case "DisableKicks":
		r.queue.DisableKicks()
	case "Stop":
		_, err = r.queue.Stop()
	}
	return err
}

// endTruncated drains and stops a queue whose memory is gone.
func endTruncated(t *testing.T, r *rig, step string, a, b virtio.Token) {
	t.Helper()
	switch {
	case step == "Push" && r.queue.InFlight() == 1:
		r.queue.Push(b, 1)
	case r.queue.InFlight() == 2:
		r.queue.Push(a, 1)
		r.queue.Push(b, 1)
	}
	if n := r.queue.InFlight(); n != 0 {
		t.Fatalf("%d in flight", n)
	}
	if called, err := r.queue.Publish(); called || err != nil {
		t.Fatal(called, err)
	}
	if _, err := r.queue.Stop(); err != nil {
		t.Fatal(err)
	}
}
