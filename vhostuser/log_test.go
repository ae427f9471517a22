package vhostuser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser"
	ut "github.com/vublk/vublk/vhostuser/vhostusertest"
	"github.com/vublk/vublk/virtio/guestmem"
)

// loggedAddr is ringAddr with the flag to log the used ring from at on.
func loggedAddr(i uint32, at guestmem.GPA) []byte {
	ring := traceUVA + 0x10000*guestmem.FrontendVA(i+1)
	return ut.VringLogAddr(i, ring, ring+0x800, ring+0x1000, at)
}

// usedRingGPA is where the guest sees the used ring of ringAddr.
func usedRingGPA(i uint32) guestmem.GPA { return guestmem.GPA(usedIdxOffset(i) - 2) }

// logSize has a bit for each page of the guest.
const logSize = uint64(traceSize / 4096 / 8)

const (
	plainFeatures = 1<<32 | 1<<30
	logFeatures   = plainFeatures | 1<<26
)

// setLogBase shares a log and wants the reply that QEMU waits for: not asked for, always there, a u64.
func (r *rig) setLogBase(size, offset uint64, fd int) {
	r.Helper()
	m := ut.Message{Request: vhostuser.RequestSetLogBase, Flags: 1, Payload: ut.LogBase(size, offset), FDs: []int{fd}}
	if err := r.conn.Send(m); err != nil {
		r.Fatal(err)
	}
	got, err := r.conn.Recv()
	if err != nil || !bytes.Equal(got.Bytes(), wire(vhostuser.RequestSetLogBase, acked)) {
		r.Fatalf("answer % x, %v", got.Bytes(), err)
	}
}

// marked returns which pages a log has, and clears it.
func marked(t *testing.T, fd int, size uint64) (pages []uint64) {
	t.Helper()
	b := make([]byte, size)
	if n, err := unix.Pread(fd, b, 0); err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	for i, v := range b {
		for bit := range 8 {
			if v>>bit&1 != 0 {
				pages = append(pages, uint64(8*i+bit))
			}
		}
	}
	if _, err := unix.Pwrite(fd, make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	return pages
}

// touch has all queues write to their used rings, and the device to the guest's page 7 as a request would. It is the
// session's goroutine that does it, at the next write to the configuration.
func (r *rig) touch() {
	r.Helper()
	r.ok(vhostuser.RequestSetConfig, ut.Config(32, 1, 0, []byte{0}))
	r.dev.taken()
}

// newLogRing is newRing with a device that can be touched.
func newLogRing(t *testing.T) *rig {
	t.Helper()
	return newLogRingWith(t, vhostuser.Options{})
}

func newLogRingWith(t *testing.T, o vhostuser.Options) *rig {
	t.Helper()
	r := newRig(t, o)
	r.negotiate(allFeatures)
	r.set(vhostuser.RequestSetFeatures, ut.U64(plainFeatures))
	r.addMemory()
	r.configure(0)
	r.alive()
	r.dev.taken()
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	dev := r.dev
	dev.written = func() { touchAll(dev) }
	return r
}

func touchAll(dev *fakeDevice) {
	if dev.log != nil {
		dev.log.Mark(7*4096, 1)
	}
	for _, q := range dev.queues {
		q.DisableKicks()
		q.EnableKicks()
	}
}

func wantPages(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	same := len(got) == len(want)
	for i := range got {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Fatalf("%s: pages %v are marked, want %v", what, got, want)
	}
}

// TestTraceOfMigration is the end of the appendix of the protocol page: a migration's source, and its guest that goes on.
// The ring is neither stopped nor started again, nor disabled.
func TestTraceOfMigration(t *testing.T) {
	r := newLogRing(t)
	log, ring := memfd(t, int64(logSize)), uint64(usedRingGPA(0))/4096
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.dev.taken()

	r.setLogBase(logSize, 0, log)
	r.wantCalls("SetLog on=false", "UpdateQueue 0 enabled=true")
	r.touch()
	wantPages(t, "before LOG_ALL", marked(t, log, logSize))
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.wantCalls("SetFeatures 0x100000000", "SetLog on=true", "UpdateQueue 0 enabled=true")
	r.touch()
	wantPages(t, "before the ring's flag", marked(t, log, logSize), 7)
	r.ok(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0)))
	r.wantCalls("UpdateQueue 0 enabled=true")
	r.touch()
	wantPages(t, "logging", marked(t, log, logSize), 7, ring)

	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 0))
	r.base(0)
	r.dev.taken()
	// cont: without LOG_ALL, and nobody has taken the log away.
	r.set(vhostuser.RequestSetFeatures, ut.U64(plainFeatures))
	r.configure(0)
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.touch()
	wantPages(t, "after cont", marked(t, log, logSize))
	// The next migration.
	log = memfd(t, int64(logSize))
	r.setLogBase(logSize, 0, log)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.ok(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0)))
	r.touch()
	wantPages(t, "second migration", marked(t, log, logSize), 7, ring)
	r.hangUp()
}

// TestLogGrows: memory was plugged, a larger log comes while rings run. After the reply the old one is left alone.
func TestLogGrows(t *testing.T) {
	r := newLogRing(t)
	old, ring := memfd(t, int64(logSize)), uint64(usedRingGPA(0))/4096
	r.setLogBase(logSize, 0, old)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.ok(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0))) // before the start
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.touch()
	wantPages(t, "the first log", marked(t, old, logSize), 7, ring)
	const offset = 4096 + 1 // anywhere
	log := memfd(t, int64(2*logSize+offset))
	r.setLogBase(2*logSize, offset, log)
	r.touch()
	wantPages(t, "the first log", marked(t, old, logSize))
	wantPages(t, "the second log", marked(t, log, 2*logSize+offset), 8*offset+7, 8*offset+ring)
	r.hangUp()
}

// TestLogSurvivesReset: RESET_DEVICE ends rings, not the migration.
func TestLogSurvivesReset(t *testing.T) {
	r := newLogRing(t)
	log, ring := memfd(t, int64(logSize)), uint64(usedRingGPA(0))/4096
	r.setLogBase(logSize, 0, log)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.ok(vhostuser.RequestResetDevice, nil)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.configure(0)
	r.set(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0)))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.touch()
	wantPages(t, "after a reset", marked(t, log, logSize), 7, ring)
	r.hangUp()
}

// TestLogBeforeItsBase: QEMU acks LOG_ALL before it shares the log when it reconnects in a migration.
func TestLogBeforeItsBase(t *testing.T) {
	r := newLogRing(t)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.set(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0)))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.touch()
	log, ring := memfd(t, int64(logSize)), uint64(usedRingGPA(0))/4096
	r.setLogBase(logSize, 0, log)
	r.touch()
	wantPages(t, "with a log", marked(t, log, logSize), 7, ring)
	r.hangUp()
}

// TestHostileLogs: a log that is not there, or not as large, ends the session and no more.
func TestHostileLogs(t *testing.T) {
	for _, c := range []struct {
		name         string
		size, offset uint64
		fd           func(t *testing.T) int
	}{
		{"no bytes", 0, 0, nil},
		{"larger than its file", 2 * logSize, 0, nil},
		{"behind its file", 1, logSize, nil},
		{"a size that wraps", 1<<64 - 1, 2, nil},
		{"an offset that wraps", 2, 1<<64 - 1, nil},
		{"an eventfd", logSize, 0, func(t *testing.T) int { return eventfd(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newLogRing(t)
			r.setLogBase(logSize, 0, memfd(t, int64(logSize)))
			r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
			fd := memfd(t, int64(logSize))
			if c.fd != nil {
				fd = c.fd(t)
			}
			r.set(vhostuser.RequestSetLogBase, ut.LogBase(c.size, c.offset), fd)
			wantProtocolError(t, r.wait(), vhostuser.RequestSetLogBase)
		})
	}
}

// TestLogFDIsAccepted: it is of no use to us, and its sender gets no answer.
func TestLogFDIsAccepted(t *testing.T) {
	r := newLogRing(t)
	r.set(vhostuser.RequestSetLogFD, nil, eventfd(t))
	r.ok(vhostuser.RequestSetLogFD, nil, eventfd(t))
	r.alive()
	r.hangUp()
}

// TestLogIsResumed: who goes on with a session in the middle of a migration logs from the first store on.
func TestLogIsResumed(t *testing.T) {
	r := newLogRingWith(t, vhostuser.Options{Keeper: nobody{}})
	const offset = 3
	log, ring := memfd(t, int64(logSize+offset)), uint64(usedRingGPA(0))/4096
	r.setLogBase(logSize, offset, log)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(logFeatures))
	r.ok(vhostuser.RequestSetVringAddr, loggedAddr(0, usedRingGPA(0)))
	r.ok(vhostuser.RequestSetVringKick, ut.U64(0), eventfd(t))
	r.ok(vhostuser.RequestSetVringEnable, ut.VringState(0, 1))
	r.session.Suspend()
	if err := r.wait(); !errors.Is(err, vhostuser.ErrSuspended) {
		t.Fatal(err)
	}
	marked(t, log, logSize+offset)

	kept := r.session.State()
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	files := map[uint64]int{}
	for _, d := range kept.Descriptors() {
		files[d.ID] = d.FD
	}
	var st vhostuser.State
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	if err := st.Bind(func(id uint64) (int, bool) { fd, ok := files[id]; return fd, ok }); err != nil {
		t.Fatal(err)
	}
	old, dev := r.session, newFake()
	dev.written = func() { touchAll(dev) }
	if r.session, err = vhostuser.Resume(&st, vhostuser.StepNone, dev, vhostuser.Options{Keeper: nobody{}}); err != nil {
		t.Fatal(err)
	}
	if err := old.Release(); err != nil {
		t.Fatal(err)
	}
	wantPages(t, "at the start", marked(t, log, logSize+offset), 8*offset+ring)
	r.dev, r.ended = dev, make(chan error, 1)
	go func() { r.ended <- r.session.Serve(context.Background()) }()
	r.touch()
	wantPages(t, "after a request", marked(t, log, logSize+offset), 8*offset+7, 8*offset+ring)
	r.ok(vhostuser.RequestSetFeatures, ut.U64(plainFeatures))
	r.touch()
	wantPages(t, "switched off", marked(t, log, logSize+offset))
	r.hangUp()
	dev.checkDown(t)
}

// nobody keeps nothing: a session that has a keeper can be suspended.
type nobody struct{}

func (nobody) Keep(*vhostuser.State) error { return nil }
func (nobody) Step(vhostuser.Step)         {}
