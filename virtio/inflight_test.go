package virtio_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// lives is one ring with an in-flight record that outlives its devices, and the driver's view of what they did.
type lives struct {
	*rig
	t       *testing.T
	o       virtiotest.Options
	record  *sys.FD
	fetched map[uint16]int // how often the device has had each outstanding chain
	order   map[uint16]int // in which it had them first
	next    int
	buffer  guestmem.GPA
}

// recordOffset is where the record begins in its file: not at a page, as with the second queue of a front-end.
const recordOffset = 4096 + 192

func newLives(t *testing.T, f format, size uint32, base virtio.Base) *lives {
	o := virtiotest.Options{Size: size, Features: f.features, Base: base, TableLen: 4}
	l := &lives{rig: newRig(t, o), t: t, o: o, fetched: map[uint16]int{}, order: map[uint16]int{}}
	fd, err := sys.Memfd("record", recordOffset+int64(virtio.InflightStride(f.features, size)))
	mustNot(t, err)
	t.Cleanup(func() { mustNot(t, fd.Close()) })
	l.record = fd
	l.buffer = l.alloc(t, 4096)
	mustNot(t, l.queue.Close())
	return l
}

// begin makes a new device. The base is what a front-end may say after a crash: nothing of use.
func (l *lives) begin(base virtio.Base) (err error) {
	c := virtio.Config{
		Size: l.o.Size, Features: l.o.Features, Base: base, Memory: l.table, Kick: -1, Call: -1, Err: -1,
		Inflight: &virtio.InflightConfig{FD: l.record.Int(), Offset: recordOffset, Entries: l.o.Size},
	}
	c.Desc, c.Driver, c.Device = l.driver.Addresses()
	if l.queue, err = virtio.Activate(c); err == nil {
		l.queue.SetEnabled(true)
	}
	return err
}

// add makes n chains of various lengths.
func (l *lives) add(n int) {
	for i := range n {
		r := virtiotest.Request{Readable: []virtiotest.Area{{GPA: l.buffer, Len: 16}}}
		for range i % 3 {
			r.Writable = append(r.Writable, virtiotest.Area{GPA: l.buffer + 64, Len: 8})
		}
		r.Indirect = i%4 == 3
		id, err := l.driver.Add(r)
		if errors.Is(err, virtiotest.ErrFull) {
			return
		}
		mustNot(l.t, err)
		l.fetched[id] = 0
		delete(l.order, id)
	}
}

// fetch is Next, and notes what came.
func (l *lives) fetch() (virtio.Token, bool) {
	ok, err := l.queue.Next(l.chain)
	mustNot(l.t, err)
	if !ok {
		return virtio.Token{}, false
	}
	id := l.chain.Token.ID
	if _, known := l.fetched[id]; !known {
		l.t.Fatalf("chain %d comes from nowhere", id)
	}
	if _, had := l.order[id]; !had { // one that was recorded and whose Next did not return was the last
		l.order[id] = l.next
		l.next++
	}
	l.fetched[id]++
	return l.chain.Token, true
}

// serve fetches what there is and completes it in an order of its own, in two batches.
func (l *lives) serve() {
	var tokens []virtio.Token
	last := -1
	for {
		again := l.queue.Recovering()
		token, ok := l.fetch()
		if !ok {
			break
		}
		if at := l.order[token.ID]; again && at < last {
			l.t.Fatalf("chain %d is recovered after one that was fetched later", token.ID)
		} else if again {
			last = at
		}
		tokens = append(tokens, token)
	}
	for i := range tokens {
		token := tokens[(i*3+len(tokens)/2)%len(tokens)]
		if len(tokens)%3 == 0 {
			token = tokens[len(tokens)-1-i]
		}
		l.queue.Push(token, 0)
		if i == len(tokens)/2 {
			l.publishUsed()
		}
	}
	l.publishUsed()
	l.queue.EnableKicks()
}

func (l *lives) publishUsed() {
	_, err := l.queue.Publish()
	mustNot(l.t, err)
}

// reap takes what was completed. The driver itself finds what was completed twice.
func (l *lives) reap() {
	for {
		c, ok, err := l.driver.Reap()
		mustNot(l.t, err)
		if !ok {
			return
		}
		if l.fetched[c.ID] < 1 {
			l.t.Fatalf("chain %d was completed and never done", c.ID)
		}
		delete(l.fetched, c.ID)
	}
}

// end lets a last device do the rest, and demands that everything has come back.
func (l *lives) end() {
	l.publish(l.t)
	mustNot(l.t, l.begin(0))
	l.serve()
	l.reap()
	if n := l.driver.Outstanding(); n != 0 || len(l.fetched) != 0 {
		l.t.Fatalf("%d chains were lost", n)
	}
	mustNot(l.t, l.queue.Close())
	mustNot(l.t, l.begin(0))
	if l.queue.Recovering() || l.queue.Pending() {
		l.t.Fatal("the record holds chains that are done")
	}
	mustNot(l.t, l.queue.Close())
}

// TestDeathBetweenSteps lets devices die at random between the steps of a queue, and others go on.
func TestDeathBetweenSteps(t *testing.T) {
	for _, f := range formats {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%s/seed=%d", f.name, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 11))
				l := newLives(t, f, 16, anyBase(rnd, f, 16))
				base := l.driver.Base()
				for range 40 {
					l.add(rnd.IntN(9))
					l.publish(t)
					mustNot(t, l.begin(base))
					l.die(rnd)
					base = 0
					if rnd.IntN(2) == 0 {
						l.reap()
					}
				}
				l.end()
			})
		}
	}
}

// anyBase is a place in the middle of a ring's life.
func anyBase(rnd *rand.Rand, f format, size uint32) virtio.Base {
	if !f.packed() {
		return virtio.Base(65530 + rnd.Uint32N(6))
	}
	at := virtio.Base(rnd.Uint32N(size) | rnd.Uint32N(2)<<15)
	return at | at<<16
}

// die does some of a device's work, and leaves the rest.
func (l *lives) die(rnd *rand.Rand) {
	var tokens []virtio.Token
	for range rnd.IntN(20) {
		switch rnd.IntN(4) {
		case 0, 1:
			if token, ok := l.fetch(); ok {
				tokens = append(tokens, token)
			}
		case 2:
			if n := len(tokens); n > 0 {
				i := rnd.IntN(n)
				l.queue.Push(tokens[i], 0)
				tokens[i] = tokens[n-1]
				tokens = tokens[:n-1]
			}
		case 3:
			l.publishUsed()
		}
	}
	mustNot(l.t, l.queue.Close())
}

// TestRecoveredWhileDisabled: what was in flight is no new work, so a disabled queue serves it, and nothing else.
func TestRecoveredWhileDisabled(t *testing.T) {
	for _, f := range formats[:2] {
		l := newLives(t, f, 8, 0)
		l.add(3)
		l.publish(t)
		mustNot(t, l.begin(l.driver.Base()))
		l.fetch()
		mustNot(t, l.queue.Close())
		mustNot(t, l.begin(0))
		l.queue.SetEnabled(false)
		if !l.queue.Live() || !l.queue.Pending() {
			t.Fatal("a disabled queue hides what was in flight")
		}
		token, ok := l.fetch()
		if !ok || l.queue.Live() || l.queue.Pending() {
			t.Fatal("a disabled queue does not return what was in flight, or more")
		}
		l.queue.Push(token, 0)
		if _, err := l.queue.Stop(); err != nil {
			t.Fatal(err)
		}
		mustNot(t, l.queue.Close())
		l.reap()
		l.end()
	}
}

// TestStrangersRecord: whatever a record holds, Activate ends, and what the queue returns then is in guest memory.
func TestStrangersRecord(t *testing.T) {
	for _, f := range formats[:2] {
		l := newLives(t, f, 8, 0)
		bytes := make([]byte, virtio.InflightStride(f.features, 8))
		refused, served := 0, 0
		for seed := range uint64(40000) {
			rnd := rand.New(rand.NewPCG(seed, 13))
			forge(rnd, bytes, f)
			mustNot(t, l.write(bytes))
			l.driver.Reset(0)
			clear(l.fetched)
			l.add(rnd.IntN(5))
			l.publish(t)
			if err := l.begin(l.driver.Base()); err != nil {
				refused++
				continue
			}
			served += l.serveAnything()
			mustNot(t, l.queue.Close())
		}
		if refused == 0 || served == 0 {
			t.Errorf("%s: %d refused, %d chains served: the forger does not try everything", f.name, refused, served)
		}
	}
}

// forge makes a record that is right in parts.
func forge(rnd *rand.Rand, b []byte, f format) {
	for i := range b {
		b[i] = 0
		if rnd.IntN(3) == 0 {
			b[i] = byte(rnd.IntN(10))
		}
	}
	if rnd.IntN(8) != 0 {
		b[8], b[9], b[10], b[11] = 1, 0, 8, 0
	}
	for i := 12; i < 32 && rnd.IntN(8) != 0; i++ { // indices in range
		b[i] = byte(rnd.IntN(2) * rnd.IntN(9) * (1 - i%2))
	}
	if rnd.IntN(2) == 0 {
		return
	}
	for i := range 8 { // entries that make sense
		if f.packed() {
			e := b[32+32*i : 64+32*i]
			clear(e)
			e[0], e[2], e[4], e[6] = byte(rnd.IntN(2)), byte(i+1), byte(i), 1
			e[16] = byte(i)
			e[20] = 16
		} else {
			e := b[16+16*i : 32+16*i]
			clear(e)
			e[0], e[6] = byte(rnd.IntN(2)), byte(rnd.IntN(9))
		}
	}
}

func (l *lives) write(b []byte) error {
	r, err := guestmem.Map(l.record.Int(), guestmem.RegionInfo{Offset: recordOffset, Size: uint64(len(b))})
	if err != nil {
		return err
	}
	defer r.Close()
	guestmem.CopyOut([]guestmem.Iovec{{Base: r.HostAddr(), Len: uint64(len(b))}}, b)
	return nil
}

// serveAnything completes what Next returns until it returns no more, or the queue breaks.
func (l *lives) serveAnything() (n int) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for ; ; n++ {
		if n > 1000 {
			l.t.Fatal("does not end")
		}
		ok, err := l.queue.Next(l.chain)
		if err != nil || !ok {
			return n
		}
		for _, v := range [][]guestmem.Iovec{l.chain.Readable, l.chain.Writable} {
			for _, i := range v {
				if _, ok := l.table.GPAOf(i.Base, i.Len); !ok {
					l.t.Fatalf("%+v is not guest memory", i)
				}
			}
		}
		l.queue.Push(l.chain.Token, 0)
		l.publishUsed()
	}
}

// TestRecordMustFit: sizes and alignment are judged before anything is touched, and a record that shrinks is a fault of the
// queue, not of the process.
func TestRecordMustFit(t *testing.T) {
	l := newLives(t, formats[0], 8, 0)
	good := virtio.InflightConfig{FD: l.record.Int(), Offset: recordOffset, Entries: 8}
	for name, spoil := range map[string]func(*virtio.InflightConfig){
		"too few entries":      func(c *virtio.InflightConfig) { c.Entries = 7 },
		"too many entries":     func(c *virtio.InflightConfig) { c.Entries = virtio.MaxSize + 1 },
		"behind the end":       func(c *virtio.InflightConfig) { c.Offset += 8 },
		"an odd offset":        func(c *virtio.InflightConfig) { c.Offset -= 4 },
		"an offset that wraps": func(c *virtio.InflightConfig) { c.Offset = 1<<64 - 8 },
		"no descriptor":        func(c *virtio.InflightConfig) { c.FD = -1 },
	} {
		c, err := l.driver.Config(l.table)
		mustNot(t, err)
		bad := good
		spoil(&bad)
		c.Inflight = &bad
		if q, err := virtio.Activate(c); err == nil {
			t.Errorf("%s: accepted", name)
			mustNot(t, q.Close())
			continue
		}
		for _, fd := range []int{c.Kick, c.Call, c.Err} {
			mustNot(t, sys.NewFD(fd).Close())
		}
	}
}
