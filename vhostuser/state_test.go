package vhostuser_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// full is a session that has been told everything that there is to say.
func full(t *testing.T, k vhostuser.Keeper) *rig {
	r := newRig(t, vhostuser.Options{Keeper: k})
	r.negotiate(allFeatures &^ vhostuser.ProtocolConfig) // so that a change of the configuration stays untold
	features := uint64(fakeFeatures | 1<<30 | virtio.FeatureLogAll)
	r.set(vhostuser.RequestSetFeatures, ut.U64(features))
	region := traceRegion
	region.GPA, region.Offset = 1<<20, 1<<12
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(region), memfd(t, traceSize+1<<12))
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.ok(vhostuser.RequestSetBackendReqFD, nil, ends[0])
	for _, fd := range ends {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	stride := virtio.InflightStride(fakeFeatures, 128)
	r.ok(vhostuser.RequestSetInflightFD, ut.Inflight(2*stride, 64, 2, 128), memfd(t, int64(64+2*stride)))
	if _, err := r.conn.Ack(vhostuser.RequestSetLogBase, ut.LogBase(1<<16, 1<<12), memfd(t, 1<<17)); err != nil {
		t.Fatal(err)
	}
	for _, i := range []uint32{1, 5} { // 5 has no room in the front-end's buffer
		r.set(vhostuser.RequestSetVringNum, ut.VringState(i, 128))
		r.set(vhostuser.RequestSetVringBase, ut.VringState(i, 0x80038003))
		at := traceUVA + 0x10000*guestmem.FrontendVA(i+1)
		r.ok(vhostuser.RequestSetVringAddr, ut.VringLogAddr(i, at, at+0x800, at+0x1000, 0x4000))
		for _, m := range []vhostuser.Request{vhostuser.RequestSetVringCall, vhostuser.RequestSetVringErr, vhostuser.RequestSetVringKick} {
			r.ok(m, ut.U64(uint64(i)), eventfd(t))
		}
		r.ok(vhostuser.RequestSetVringEnable, ut.VringState(i, 1))
	}
	r.session.ConfigChanged()
	return r
}

// TestStateSurvives: a session that was told everything is described, resumed from that, and described in the same words. A
// field that is added to State and set by nothing here fails the test; one that is not restored does, too.
func TestStateSurvives(t *testing.T) {
	k := &noKeeper{}
	r := full(t, k)
	m, err := r.conn.Get(vhostuser.RequestGetInflightFD, ut.Inflight(0, 0, 1, 128))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range m.FDs {
		_ = unix.Close(fd)
	}
	r.alive()
	st := r.suspend()
	before, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	note(reflect.ValueOf(*st), seen)
	for _, b := range k.owed {
		var owed vhostuser.State
		if err := json.Unmarshal(b, &owed); err != nil {
			t.Fatal(err)
		}
		note(reflect.ValueOf(owed.Owed), seen)
	}
	seen["State.Owed"] = true // of another moment
	for field, set := range seen {
		if !set {
			t.Errorf("%s is not set: what it means is not proved to survive", field)
		}
	}

	var read vhostuser.State
	if err := json.Unmarshal(before, &read); err != nil {
		t.Fatal(err)
	}
	fds := map[uint64]int{}
	for _, d := range st.Descriptors() {
		fds[d.ID] = d.FD
	}
	find := func(id uint64) (int, bool) { fd, ok := fds[id]; return fd, ok }
	if err := read.Bind(find); err != nil {
		t.Fatal(err)
	}
	next, err := resumed(t, &read, vhostuser.StepNone, vhostuser.Options{Keeper: &noKeeper{}}, r.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
	next.alive()
	again := next.suspend()
	after, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	if err := next.session.Release(); err != nil {
		t.Fatal(err)
	}
	if err := read.Bind(func(uint64) (int, bool) { return 0, false }); err == nil {
		t.Error("descriptors are missing, and nobody complains")
	}
}

// TestDuplicateSharesNothing: a State and its duplicate are the same but for the numbers of their descriptors.
func TestDuplicateSharesNothing(t *testing.T) {
	r := full(t, &noKeeper{})
	st := r.suspend()
	st.Owed = &vhostuser.Owed{File: st.Channel}
	before := st.Descriptors()
	dup, done, err := st.Duplicate()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if after := st.Descriptors(); !slices.Equal(before, after) {
		t.Errorf("the descriptors were %v and are %v", before, after)
	}
	list := dup.Descriptors()
	if len(list) != len(before) {
		t.Fatalf("%d descriptors of %d", len(list), len(before))
	}
	for i, d := range before {
		if list[i].ID != d.ID || list[i].FD == d.FD {
			t.Errorf("%v has become %v", d, list[i])
		}
	}
	want, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(dup); err != nil || !bytes.Equal(want, got) {
		t.Errorf("%v: %s\nwant %s", err, got, want)
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
}

// note tells of each field of each type in v whether it is set anywhere.
func note(v reflect.Value, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			note(v.Elem(), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			note(v.Index(i), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			seen[name] = seen[name] || !v.Field(i).IsZero()
			note(v.Field(i), seen)
		}
	}
}

// idKeeper knows the IDs of the last state.
type idKeeper struct {
	noKeeper
	calls   []uint64 // by ring
	regions []uint64
}

func (k *idKeeper) Keep(st *vhostuser.State) error {
	k.mu.Lock()
	k.calls, k.regions = nil, nil
	for _, r := range st.Rings {
		k.calls = append(k.calls, r.Call.ID)
	}
	for _, m := range st.Memory {
		k.regions = append(k.regions, m.File.ID)
	}
	k.mu.Unlock()
	return k.noKeeper.Keep(st)
}

// TestFileThatComesAgain: an open file has one ID as long as the session has it, so that a holder that keeps it once has it.
func TestFileThatComesAgain(t *testing.T) {
	k := &idKeeper{}
	r := newRig(t, vhostuser.Options{Keeper: k})
	r.negotiate(allFeatures)
	call, other, memory := eventfd(t), eventfd(t), memfd(t, traceSize+1<<20)
	send := func(ring uint64, fd int) []uint64 {
		r.ok(vhostuser.RequestSetVringCall, ut.U64(ring), fd)
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.calls
	}
	first := send(0, call)[0]
	if again := send(0, call)[0]; again != first {
		t.Errorf("the eventfd was %d and is %d", first, again)
	}
	if ids := send(1, call); !slices.Equal(ids, []uint64{first, first}) {
		t.Errorf("two rings with one eventfd: %v", ids)
	}
	if ids := send(0, other); ids[0] == first || ids[1] != first {
		t.Errorf("another eventfd for the first of two rings: %v", ids)
	}
	low, high := traceRegion, traceRegion
	high.GPA, high.UserAddr, high.Offset = high.GPA+1<<30, high.UserAddr+1<<30, high.Offset+4096
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(low), memory)
	r.ok(vhostuser.RequestAddMemReg, ut.MemReg(high), memory)
	st := r.suspend()
	if len(k.regions) != 2 || k.regions[0] != k.regions[1] {
		t.Errorf("two regions of one file: %v", k.regions)
	}
	if n := len(st.Descriptors()); n != 5 { // connection, outbox, memory, two eventfds
		t.Errorf("%d descriptors, want 5", n)
	}
	if err := r.session.Release(); err != nil {
		t.Fatal(err)
	}
}
