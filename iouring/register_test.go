package iouring

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func TestRegisteredFiles(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		a, b, buf := memfd(t, 4096), memfd(t, 4096), offHeap(t, 4096)
		must(t, r.RegisterFiles([]int{-1, int(a), -1}))
		write := func(slot int32, text string) int32 {
			copy(buf.Bytes(), text)
			return do(t, r, func(s *SQE) {
				s.Write(slot, buf.Addr(), uint32(len(text)), 0)
				s.SetFlags(FixedFile)
			})
		}
		wantRes(t, "slot 0, empty", write(0, "none"), failed(unix.EBADF))
		wantRes(t, "slot 1", write(1, "first"), 5)
		must(t, r.UpdateFile(0, int(b)))
		must(t, r.UpdateFile(1, -1))
		wantRes(t, "slot 0", write(0, "second"), 6)
		wantRes(t, "slot 1, emptied", write(1, "none"), failed(unix.EBADF))
		wantRes(t, "slot 3, none", write(3, "none"), failed(unix.EBADF))
		for fd, want := range map[int32]string{a: "first", b: "second"} {
			got := make([]byte, len(want))
			if _, err := unix.Pread(int(fd), got, 0); err != nil || string(got) != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		for _, slot := range []int{-1, 3, 1 << 40} {
			if err := r.UpdateFile(slot, int(a)); err == nil {
				t.Errorf("updated slot %d of 3", slot)
			}
		}
		if err := r.UpdateFile(0, 1<<20); !errors.Is(err, unix.EBADF) {
			t.Errorf("bad descriptor: %v", err)
		}
		must(t, r.UnregisterFiles())
		if err := r.UnregisterFiles(); !errors.Is(err, unix.ENXIO) {
			t.Errorf("unregistered twice: %v", err)
		}
	})
}

func TestRegisteredBuffers(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		fd, buf := file(t, 1<<16, unix.O_DIRECT), offHeap(t, 4*4096)
		must(t, r.RegisterBuffers([]Iovec{{buf.Addr(), 4096}, {buf.Addr() + 4096, 3 * 4096}}))
		for i := range 4096 {
			buf.Bytes()[i] = byte(i)
		}
		back := buf.Addr() + 2*4096
		wantRes(t, "WRITE_FIXED", do(t, r, func(s *SQE) { s.WriteFixed(fd, buf.Addr(), 4096, 8192, 0) }), 4096)
		wantRes(t, "READ_FIXED", do(t, r, func(s *SQE) { s.ReadFixed(fd, back, 4096, 8192, 1) }), 4096)
		if !bytes.Equal(buf.Bytes()[:4096], buf.Bytes()[2*4096:3*4096]) {
			t.Fatal("other data came back")
		}
		bad := failed(unix.EFAULT)
		wantRes(t, "outside of it", do(t, r, func(s *SQE) { s.ReadFixed(fd, back, 4096, 0, 0) }), bad)
		wantRes(t, "no such buffer", do(t, r, func(s *SQE) { s.ReadFixed(fd, back, 4096, 0, 2) }), bad)
		must(t, r.UnregisterBuffers())
		if err := r.UnregisterBuffers(); !errors.Is(err, unix.ENXIO) {
			t.Errorf("unregistered twice: %v", err)
		}
		if err := r.RegisterBuffers(nil); err == nil {
			t.Error("registered no buffers")
		}
	})
}

func TestRegisterRingFD(t *testing.T) {
	a, b := ownRing(t, Options{Entries: 4}), ownRing(t, Options{Entries: 4})
	for _, r := range []*Ring{a, b} {
		must(t, r.RegisterRingFD())
		must(t, r.RegisterRingFD()) // again: nothing happens
		if r.enterFlags&enterRegisteredRing == 0 {
			t.Fatal("Enter does not use the registered descriptor")
		}
	}
	if a.enterFD == b.enterFD {
		t.Fatal("two rings in one slot of the thread's table")
	}
	for _, r := range []*Ring{a, b, a} {
		wantRes(t, "NOP", do(t, r, func(s *SQE) { s.Nop() }), 0)
	}
	must(t, a.UnregisterRingFD())
	for _, r := range []*Ring{a, b} {
		wantRes(t, "NOP", do(t, r, func(s *SQE) { s.Nop() }), 0)
	}
}

func TestRegisterRingFDOnAnOldKernel(t *testing.T) {
	r := ownRing(t, Options{Entries: 4, Disable: FeatureRegisteredRing})
	var u *UnsupportedError
	err := r.RegisterRingFD()
	if !errors.As(err, &u) || u.Needs != "5.18" || !strings.Contains(err.Error(), "5.18") {
		t.Fatalf("%v", err)
	}
	wantRes(t, "NOP", do(t, r, func(s *SQE) { s.Nop() }), 0)
}

// Tables of registered rings are per thread. Closing a ring on another thread must not touch that thread's ring of the
// same index.
func TestCloseOnAnotherThreadLeavesItsTableAlone(t *testing.T) {
	mine := ownRing(t, Options{Entries: 4})
	must(t, mine.RegisterRingFD())
	other, err := New(Options{Entries: 4})
	must(t, err)
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread, and its table, end with this goroutine
		if err := other.Enable(); err != nil {
			errs <- err
			return
		}
		errs <- other.RegisterRingFD()
	}()
	must(t, <-errs)
	if mine.enterFD != other.enterFD {
		t.Fatalf("indices %d and %d: the case is not built", mine.enterFD, other.enterFD)
	}
	must(t, other.Close())
	wantRes(t, "NOP", do(t, mine, func(s *SQE) { s.Nop() }), 0)
}

func TestIOWQWorkers(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		must(t, r.SetIOWQWorkers(3, 5))
		must(t, r.SetIOWQWorkers(0, 4))
		bounded, unbounded, err := r.IOWQWorkers()
		if err != nil || bounded != 3 || unbounded != 4 {
			t.Fatalf("%d bounded, %d unbounded, %v; want 3 and 4", bounded, unbounded, err)
		}
	})
}

// TestIOWQAffinity has operations done that io_uring always leaves to io-wq threads, and looks where those may run. They
// belong to a thread and outlive its rings, so each case has a thread of its own.
func TestIOWQAffinity(t *testing.T) {
	var may unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &may))
	file := memfd(t, 1)
	for cpu := range 1024 {
		if !may.IsSet(cpu) {
			continue
		}
		type answer struct {
			cpus []string
			err  error
		}
		got := make(chan answer, 1)
		go onFreshThread(func() {
			cpus, err := fsyncOn(cpu, file)
			got <- answer{cpus, err}
		})
		if a := <-got; a.err != nil || !slices.Equal(a.cpus, []string{strconv.Itoa(cpu)}) {
			t.Errorf("io-wq threads on CPUs %v, %v; want %d", a.cpus, a.err, cpu)
		}
	}
}

// onFreshThread runs f on a thread that has no io-wq threads from earlier tests. It ends with this goroutine.
func onFreshThread(f func()) {
	runtime.LockOSThread() // never unlocked
	if old, err := ioThreads(); err != nil || len(old) == 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onFreshThread(f)
	}()
	<-done // meanwhile this thread is taken
}

func fsyncOn(cpu int, file int32) ([]string, error) {
	r, err := New(Options{Entries: 4})
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if err := r.Enable(); err != nil {
		return nil, err
	}
	var one unix.CPUSet
	one.Set(cpu)
	r.SQE().Nop() // the submitter has to be known
	if err := r.Enter(1); err != nil {
		return nil, err
	}
	r.Seen()
	if err := r.SetIOWQAffinity(one); err != nil {
		return nil, err
	}
	r.SQE().Fsync(file, true)
	if err := r.Enter(1); err != nil {
		return nil, err
	}
	// A thread is there to be seen before the kernel puts it where it belongs, and another one may just be coming.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		cpus, err := ioThreads()
		if cpus = slices.Compact(cpus); err != nil || slices.Equal(cpus, []string{strconv.Itoa(cpu)}) || time.Now().After(deadline) {
			return cpus, err
		}
	}
}

// ioThreads returns the CPUs of each io-wq thread that works for this thread.
func ioThreads() (cpus []string, err error) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return nil, err
	}
	mine := fmt.Sprintf("Name:\tiou-wrk-%d\n", unix.Gettid())
	for _, f := range files {
		status, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // has ended
		}
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(status), mine) {
			continue
		}
		_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:\t")
		list, _, _ = strings.Cut(list, "\n")
		cpus = append(cpus, list)
	}
	return cpus, nil
}

func TestRegisterErrorsNameTheWayOut(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EEXIST: "LockOSThread", unix.ENOMEM: "RLIMIT_MEMLOCK", unix.EMFILE: "RLIMIT_NOFILE", unix.EINVAL: "it",
	} {
		err := registerError("do it", errno)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
