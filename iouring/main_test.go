package iouring

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/sys"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// variants are the rings that a test of an operation runs on: as this kernel makes them, as 5.15 makes them, and each
// feature's fallback by itself.
func variants(t *testing.T, f func(t *testing.T, o Options)) {
	t.Helper()
	try := func(name string, disable Feature) {
		t.Run(name, func(t *testing.T) { f(t, Options{Entries: 32, Disable: disable}) })
	}
	try("everything", 0)
	try("as 5.15", AllFeatures)
	for i := range featureTable {
		try("without "+featureTable[i].name, featureTable[i].feature)
	}
}

// ownRing makes a ring that the test's goroutine owns until it ends.
func ownRing(t testing.TB, o Options) *Ring {
	t.Helper()
	runtime.LockOSThread()
	r, err := New(o)
	must(t, err)
	must(t, r.Enable())
	t.Cleanup(func() {
		must(t, r.Close())
		runtime.UnlockOSThread()
	})
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// submit returns the next SQE with its user data set.
func submit(t testing.TB, r *Ring, userData uint64) *SQE {
	t.Helper()
	s := r.SQE()
	if s == nil {
		t.Fatal("submission queue is full")
	}
	s.SetUserData(userData)
	return s
}

// reap waits for n completions. A watchdog signals the thread so that a wait for nothing ends.
func reap(t testing.TB, r *Ring, n int) []CQE {
	t.Helper()
	pid, tid := unix.Getpid(), unix.Gettid()
	late := time.Now().Add(patience)
	dog := time.AfterFunc(patience, func() { _ = unix.Tgkill(pid, tid, unix.SIGURG) })
	defer dog.Stop()
	cqes := make([]CQE, n)
	got := r.Reap(cqes)
	for got < n {
		if time.Now().After(late) {
			t.Fatalf("%d of %d completions: %+v", got, n, cqes[:got])
		}
		must(t, r.Enter(1))
		got += r.Reap(cqes[got:])
	}
	return cqes
}

// do runs one prepared operation and returns its result.
func do(t testing.TB, r *Ring, prep func(*SQE)) int32 {
	t.Helper()
	const mark = 0xfeed
	prep(submit(t, r, mark))
	c := reap(t, r, 1)[0]
	if c.UserData != mark {
		t.Fatalf("completion of %#x, want %#x", c.UserData, mark)
	}
	return c.Res
}

func wantRes(t testing.TB, what string, got, want int32) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: result %d, want %d", what, got, want)
	}
}

// failed is the result of an operation that failed with errno.
func failed(errno unix.Errno) int32 { return -int32(errno) }

// offHeap returns n bytes, page aligned, that live as long as the test.
func offHeap(t testing.TB, n int) Block {
	t.Helper()
	a, err := NewArena(n)
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	b, err := a.Alloc(n, 4096)
	must(t, err)
	return b
}

func eventFD(t testing.TB) int32 {
	t.Helper()
	e, err := sys.EventFD()
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return int32(e.Int())
}

func memfd(t testing.TB, size int64) int32 {
	t.Helper()
	m, err := sys.Memfd("iouring-test", size)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return int32(m.Int())
}

// file makes a file of size bytes, opened with flags besides O_RDWR.
func file(t testing.TB, size int64, flags int) int32 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, size))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(fd)) })
	return int32(fd)
}
