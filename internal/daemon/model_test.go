package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// odd are names that some layer might stumble over.
var odd = []string{
	"vm", "a/b", "..", ".", "/", " ", "a b", "ü-ß", "%41", "A", "x.export", ".new-vm", "-", "--help", "'; rm", strings.Repeat("n", 255), "a,b=c", "\\", "日本", "lock",
}

// model is what one export should be. It belongs to the goroutine that alone changes that export.
type model struct {
	r       *rig
	rand    *rand.Rand
	name    string
	base    string
	exists  bool
	drained bool
	size    int64
	serial  string
}

// step calls a verb and demands what it must bring.
func (m *model) step() error {
	ctx, cancel := patience()
	defer cancel()
	switch n := m.rand.IntN(10); {
	case n < 2:
		_, err := m.r.Create(ctx, m.r.define(m.name, m.base), mib)
		if m.exists {
			return m.is(err, "create", "already exists")
		}
		m.exists, m.drained, m.serial = true, false, ""
		if m.size == 0 { // the image stays after a Delete
			m.size = mib
		}
		return m.is(err, "create", "")
	case n < 3:
		err := m.r.Delete(ctx, m.name, m.rand.IntN(2) == 0)
		err = m.is(err, "delete", m.there(""))
		m.exists = false
		return err
	case n < 5:
		_, err := m.r.Drain(ctx, m.name)
		err = m.is(err, "drain", m.there(""))
		m.drained = true
		return err
	case n < 7:
		_, err := m.r.Start(ctx, m.name)
		err = m.is(err, "start", m.there(""))
		m.drained = false
		return err
	case n < 8:
		serial := fmt.Sprint(m.rand.IntN(1000))
		_, err := m.r.Update(ctx, m.name, map[string]string{"serial": serial}, false)
		err = m.is(err, "update", m.there(""))
		m.serial = serial
		return err
	case n < 9:
		return m.resize(ctx)
	}
	return m.look()
}

func (m *model) resize(ctx context.Context) error {
	size := int64(1+m.rand.IntN(8)) * mib / 2
	shrink := m.rand.IntN(2) == 0
	_, err := m.r.Resize(ctx, m.name, size, shrink)
	switch {
	case !m.exists || m.drained:
		return m.is(err, "resize", m.there("failed precondition"))
	case size < m.size && !shrink:
		return m.is(err, "resize", "failed precondition")
	}
	m.size = size
	return m.is(err, "resize", "")
}

// there is the kind of error for an export that may not be there.
func (m *model) there(otherwise string) string {
	if !m.exists {
		return "not found"
	}
	return otherwise
}

func (m *model) is(err error, verb, kind string) error {
	if got := kindOf(err); got != kind {
		return fmt.Errorf("%s %q: %q (%w), want %q", verb, m.name, got, err, kind)
	}
	return nil
}

// look compares what is told with what should be.
func (m *model) look() error {
	st, err := m.r.Get(m.name)
	if err := m.is(err, "get", m.there("")); err != nil || !m.exists {
		return err
	}
	switch {
	case m.drained && st.State == Drained && st.Capacity == 0 && st.Definition.Device.Serial == m.serial:
	case !m.drained && st.State == Listening && st.Capacity == m.size && st.Definition.Device.Serial == m.serial:
	default:
		return fmt.Errorf("%q is %+v, want drained %v, %d bytes, serial %q", m.name, st, m.drained, m.size, m.serial)
	}
	return nil
}

// observe reads all there is to read until ctx ends.
func (r *rig) observe(ctx context.Context) error {
	for ctx.Err() == nil {
		list := r.List("")
		if !slices.IsSortedFunc(list, func(a, b Status) int { return strings.Compare(a.Definition.Name, b.Definition.Name) }) {
			return fmt.Errorf("not sorted: %v", list)
		}
		if _, workers := r.Stats(); len(workers) != 2 {
			return fmt.Errorf("%d workers", len(workers))
		}
		r.Unserved()
		r.Info()
		s := r.Subscribe(nil)
		select {
		case <-s.Events():
		case <-time.After(time.Millisecond):
		}
		s.Close()
	}
	return nil
}

// TestModel has many exports changed at the same time, each by one goroutine that knows what must come of it, while others
// look; and wants all to be there after each of some restarts.
func TestModel(t *testing.T) {
	const rounds, steps = 3, 60
	r := newRig(t)
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	var models []*model
	for i, name := range odd {
		models = append(models, &model{r: r, rand: rand.New(rand.NewPCG(seed, uint64(i))), name: name, base: fmt.Sprint(i)})
	}
	for range rounds {
		var all, observers sync.WaitGroup
		looking, stop := context.WithCancel(t.Context())
		observers.Go(func() {
			if err := r.observe(looking); err != nil {
				t.Error(err)
			}
		})
		for _, m := range models {
			all.Go(func() {
				for range steps {
					if err := m.step(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		stop()
		observers.Wait()
		r.again()
		exist := 0
		for _, m := range models {
			if err := m.look(); err != nil {
				t.Error(err)
			}
			if m.exists {
				exist++
			}
		}
		if n := len(r.kept()); n != exist || len(r.List("")) != exist {
			t.Errorf("%d definitions are kept, %d exports listed, want %d", n, len(r.List("")), exist)
		}
		if t.Failed() {
			return
		}
	}
}

// chaos calls any verb on any name, and gives up when it likes.
func (r *rig) chaos(d *rand.Rand, names int) error {
	i := d.IntN(names)
	name, base := odd[i], fmt.Sprint(i)
	ctx, cancel := patience()
	defer cancel()
	if d.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(d.IntN(5))*time.Millisecond)
		defer cancel()
	}
	if d.IntN(4) == 0 { // somebody else's image or socket
		base = fmt.Sprint(d.IntN(names))
	}
	var err error
	var verb string
	allowed := []string{"", "context", "not found"}
	switch d.IntN(9) {
	case 0, 1:
		verb, allowed = "create", []string{"", "context", "already exists"}
		_, err = r.Create(ctx, r.define(name, base), mib)
	case 2, 3:
		verb, allowed = "delete", append(allowed, "failed precondition")
		err = r.Delete(ctx, name, d.IntN(2) == 0)
	case 4:
		verb = "drain"
		_, err = r.Drain(ctx, name)
	case 5:
		verb, allowed = "start", append(allowed, "already exists") // another has its image
		_, err = r.Start(ctx, name)
	case 6:
		verb, allowed = "update", append(allowed, "failed precondition")
		_, err = r.Update(ctx, name, map[string]string{"serial": fmt.Sprint(d.IntN(100))}, d.IntN(2) == 0)
	case 7:
		verb, allowed = "resize", append(allowed, "failed precondition")
		_, err = r.Resize(ctx, name, int64(1+d.IntN(4))*mib, true)
	case 8:
		r.visit(base, d)
	}
	if !slices.Contains(allowed, kindOf(err)) {
		return fmt.Errorf("%s %q: %q, %w", verb, name, kindOf(err), err)
	}
	return nil
}

// visit is a front-end that goes at any moment of its negotiation, or after it.
func (r *rig) visit(base string, d *rand.Rand) {
	c, err := vhostusertest.Dial(r.path(base + ".sock"))
	if err != nil {
		return // nobody listens
	}
	cut := make(chan struct{})
	timer := time.AfterFunc(time.Duration(d.IntN(2000))*time.Microsecond, func() { _ = c.CloseWrite(); close(cut) })
	defer func() {
		if !timer.Stop() {
			<-cut
		}
	}()
	f, err := vhostusertest.New(c, vhostusertest.Options{Memory: []guestmem.RegionInfo{virtiotest.RAM(2 << 20)}})
	if err != nil {
		return
	}
	_ = f.Start()
	_ = f.Close()
}

// TestChaos has everybody change everything: no error may be of a kind that the verb has no reason for, and at the end what is
// kept is what is listed, and each export that is served can be used.
func TestChaos(t *testing.T) {
	const clients, steps, names = 12, 150, 6
	r := newRig(t)
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	events := newHistory(r)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			d := rand.New(rand.NewPCG(seed, uint64(i)))
			for range steps {
				if err := r.chaos(d, names); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r.quiesce()
	there := events.end()
	list, kept := r.List(""), r.kept()
	if len(list) != len(kept) || len(list) != len(there) {
		t.Errorf("%d exports are listed, %d kept, %d by the events", len(list), len(kept), len(there))
	}
	for _, st := range list {
		name := st.Definition.Name
		if rec, ok := kept[name]; !ok || rec.Drained != (st.State == Drained) && st.State != Failed || !there[name] {
			t.Errorf("%q is %v: kept %v as drained %v, there by the events: %v", name, st.State, ok, rec.Drained, there[name])
		}
		if st.State == Listening {
			r.use(st.Definition)
		}
	}
	for _, st := range list {
		ctx, cancel := patience()
		r.must(r.Delete(ctx, st.Definition.Name, true))
		cancel()
	}
	if len(r.List("")) != 0 || len(r.kept()) != 0 {
		t.Errorf("left: %v, %v", r.List(""), r.kept())
	}
}

// quiesce waits until no verb runs and no front-end is attached.
func (r *rig) quiesce() {
	r.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	for _, name := range odd {
		if s, err := r.enter(ctx, name); err == nil {
			_ = r.refuse(s, nil)
		}
	}
	for ; ; time.Sleep(time.Millisecond) {
		busy := slices.ContainsFunc(r.List(""), func(s Status) bool { return s.State == Attached || s.State == Draining })
		if !busy {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatalf("not quiet: %+v", r.List(""))
		}
	}
}

// use writes to an export as a guest does.
func (r *rig) use(d export.Definition) {
	r.t.Helper()
	f, err := vhostusertest.Connect(d.Socket.Path, vhostusertest.Options{Memory: []guestmem.RegionInfo{virtiotest.RAM(2 << 20)}})
	if err == nil {
		err = f.Start()
		_ = f.Close()
	}
	if err != nil {
		r.t.Errorf("%q cannot be used: %v", d.Name, err)
	}
}

// history is what the events say that there is.
type history struct {
	r     *rig
	from  *Subscription
	there map[string]bool
	ended chan struct{}
}

func newHistory(r *rig) *history {
	h := &history{r: r, from: r.Subscribe(nil), there: map[string]bool{}, ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		for e := range h.from.Events() {
			h.note(e)
		}
	}()
	return h
}

// note demands an order in which things can happen.
func (h *history) note(e Event) {
	switch {
	case e.Kind == EventCreated && h.there[e.Name]:
		h.r.t.Errorf("%q was created twice", e.Name)
	case e.Kind == EventDeleted && !h.there[e.Name]:
		h.r.t.Errorf("%q was deleted and not there", e.Name)
	}
	switch e.Kind {
	case EventCreated:
		h.there[e.Name] = true
	case EventDeleted:
		delete(h.there, e.Name)
	}
}

func (h *history) end() map[string]bool {
	h.from.Close()
	<-h.ended
	if err := h.from.Err(); err != nil {
		h.r.t.Error(err)
	}
	return h.there
}
