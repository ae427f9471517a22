package vhostuser_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/virtio"
	"github.com/vublk/vublk/virtio/guestmem"
)

// fakeFeatures is what the device of these tests offers: VERSION_1, RING_PACKED, EVENT_IDX, INDIRECT_DESC and the block
// bits that SeaBIOS acks in the appendix (2 and 6).
const fakeFeatures = 1<<34 | 1<<32 | 1<<29 | 1<<28 | 1<<6 | 1<<2

// fakeDevice records its calls and runs queues on the caller's goroutine.
type fakeDevice struct {
	mu     sync.Mutex
	calls  []string
	queues map[int]*virtio.Queue
	config [60]byte
	memory *guestmem.Table
	memo   *guestmem.Region
	log    *guestmem.DirtyLog

	// What to fail with, by method name.
	fail map[string]error
	// Called by WriteConfig, which a test can make happen.
	written func()
	// Called by StopQueue before it answers: a drain.
	drain func(i int)
}

var errFake = errors.New("the fake device fails")

func newFake() *fakeDevice {
	f := &fakeDevice{queues: map[int]*virtio.Queue{}, fail: map[string]error{}}
	for i := range f.config {
		f.config[i] = byte(i + 1)
	}
	return f
}

func (f *fakeDevice) record(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// taken returns the calls since the last time.
func (f *fakeDevice) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// seen tells whether a call that starts so was made.
func (f *fakeDevice) seen(prefix string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.calls, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// failWith makes a method fail from now on.
func (f *fakeDevice) failWith(method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[method] = errFake
}

func (f *fakeDevice) failure(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[method]
}

// checkDown checks that a session that has ended left nothing behind.
func (f *fakeDevice) checkDown(t *testing.T) {
	t.Helper()
	if len(f.queues) != 0 {
		t.Errorf("%d queues were left running", len(f.queues))
	}
	if f.memory != nil {
		if n := len(f.memory.Regions()); n != 0 && f.failure("SetMemory") == nil {
			t.Errorf("%d regions were left with the device", n)
		}
		f.memory.Release()
		f.memory = nil
	}
}

func (f *fakeDevice) Features() uint64 { return fakeFeatures }

func (f *fakeDevice) SetFeatures(acked uint64) error {
	f.record("SetFeatures %#x", acked)
	return f.failure("SetFeatures")
}

func (f *fakeDevice) ReadConfig(b []byte, off uint32) {
	for i := range b {
		if at := uint64(off) + uint64(i); at < uint64(len(f.config)) {
			b[i] = f.config[at]
		}
	}
}

func (f *fakeDevice) WriteConfig(b []byte, off uint32) error {
	f.record("WriteConfig off=%d % x", off, b)
	if f.written != nil {
		f.written()
	}
	if off != 32 || len(b) != 1 {
		return errors.New("read-only")
	}
	return nil
}

func (f *fakeDevice) SetMemory(t *guestmem.Table) error {
	var s strings.Builder
	for _, r := range t.Regions() {
		i := r.Info()
		fmt.Fprintf(&s, " [gpa=%x size=%x uva=%x off=%x]", uint64(i.GPA), i.Size, uint64(i.UserAddr), i.Offset)
	}
	f.record("SetMemory%s", s.String())
	if err := f.failure("SetMemory"); err != nil {
		return err
	}
	for _, q := range f.queues {
		_ = q.SetMemory(t) // its error has broken the queue, which is not ours to report
	}
	t.Retain()
	if f.memory != nil {
		f.memory.Release()
	}
	f.memory = t
	return nil
}

func (f *fakeDevice) SetMemo(m *guestmem.Region) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.memo != nil {
		f.memo.Close()
	}
	f.memo = m
	return nil
}

// memoBytes copies the memo's begin to b, after what is to be written there, unless that is "". False: there is none.
func (f *fakeDevice) memoBytes(b []byte, write string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.memo == nil {
		return false
	}
	at := []guestmem.Iovec{{Base: f.memo.HostAddr(), Len: uint64(len(b))}}
	guestmem.CopyOut(at, []byte(write))
	guestmem.CopyIn(b, at)
	return true
}

func (f *fakeDevice) SetLog(l *guestmem.DirtyLog) error {
	f.record("SetLog on=%t", l != nil)
	f.log = l
	return f.failure("SetLog")
}

func (f *fakeDevice) StartQueue(i int, q *virtio.Queue) error {
	f.record("StartQueue %d size=%d enabled=%t kick=%t features=%#x", i, q.Size(), q.Enabled(), q.KickFD() >= 0,
		uint64(q.Features()))
	if err := f.failure("StartQueue"); err != nil {
		_ = q.Close()
		return err
	}
	f.queues[i] = q
	return nil
}

func (f *fakeDevice) UpdateQueue(i int, fn func(*virtio.Queue)) error {
	q := f.queues[i]
	if err := f.failure("UpdateQueue"); err != nil {
		return err
	}
	if q == nil {
		return errors.Errorf("queue %d is not started", i)
	}
	fn(q)
	f.record("UpdateQueue %d enabled=%t", i, q.Enabled())
	return nil
}

func (f *fakeDevice) StopQueue(i int) (virtio.Base, error) {
	if f.drain != nil {
		f.drain(i)
	}
	q := f.queues[i]
	if err := f.failure("StopQueue"); err != nil {
		return 0, err
	}
	base, err := stopAndClose(q)
	delete(f.queues, i)
	f.record("StopQueue %d base=%#x", i, uint32(base))
	return base, err
}

func stopAndClose(q *virtio.Queue) (base virtio.Base, err error) {
	defer guestmem.Recover(&err)
	base, err = q.Stop()
	if cerr := q.Close(); err == nil {
		err = cerr
	}
	return base, err
}

func (f *fakeDevice) Reset() error {
	f.record("Reset")
	for i, q := range f.queues {
		if _, err := stopAndClose(q); err != nil {
			return err
		}
		delete(f.queues, i)
	}
	return f.failure("Reset")
}
