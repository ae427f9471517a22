package iouring

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// pester signals the calling thread until stop is called.
func pester(t *testing.T) (stop func()) {
	pid, tid := unix.Getpid(), unix.Gettid()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if err := unix.Tgkill(pid, tid, unix.SIGURG); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

// A signal ends a wait with nil and without completions; nothing is submitted twice.
func TestSignalEndsTheWait(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		e, buf := eventFD(t), offHeap(t, 8)
		submit(t, r, 1).PollAdd(e, unix.POLLIN, false)
		stop := pester(t)
		for range 20 { // the first returns "1 submitted", the others EINTR
			if err := r.Enter(1); err != nil || r.Ready() != 0 || r.Pending() != 0 {
				t.Fatalf("%v with %d ready, %d pending", err, r.Ready(), r.Pending())
			}
		}
		stop()
		must(t, sys.Signal(int(e)))
		if c := reap(t, r, 1)[0]; c.UserData != 1 || c.Res != unix.POLLIN {
			t.Fatalf("completion %+v", c)
		}
		wantRes(t, "read the eventfd", do(t, r, func(s *SQE) { s.Read(e, buf.Addr(), 8, 0) }), 8)
		if r.Ready() != 0 {
			t.Fatal("a poll was submitted twice")
		}
	})
}

// While signals rain, every submission completes exactly once.
func TestSignalsLoseAndDoubleNothing(t *testing.T) {
	r := ownRing(t, Options{Entries: 32})
	e := eventFD(t)
	stop := pester(t)
	defer stop()
	for round := range uint64(50) {
		submit(t, r, 1000+round).PollAdd(e, unix.POLLIN, false)
		for i := range uint64(20) {
			submit(t, r, i).Nop()
		}
		must(t, r.Enter(21)) // the poll is not ready: cut short by a signal
		must(t, sys.Signal(int(e)))
		seen := map[uint64]int{}
		for _, c := range reap(t, r, 21) {
			seen[c.UserData]++
		}
		if len(seen) != 21 || r.Ready() != 0 {
			t.Fatalf("round %d: %d different completions, %d too many", round, len(seen), r.Ready())
		}
		if _, err := sys.Drain(int(e)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullSubmissionQueue(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		for lap := range uint64(3) {
			for i := range uint64(o.Entries) {
				submit(t, r, lap<<32|i).Nop()
			}
			if r.SQE() != nil || r.Pending() != o.Entries {
				t.Fatalf("queue of %d took more; %d pending", o.Entries, r.Pending())
			}
			for i, c := range reap(t, r, int(o.Entries)) {
				if c.UserData != lap<<32|uint64(i) || c.Res != 0 {
					t.Fatalf("lap %d: completion %d is %+v", lap, i, c)
				}
			}
		}
	})
}

// Slots are recycled: nothing of an operation is left in the next one.
func TestSQEsAreZeroed(t *testing.T) {
	r := ownRing(t, Options{Entries: 1})
	for range 3 {
		s := r.SQE()
		if *s != (SQE{}) {
			t.Fatalf("recycled with %+v", *s)
		}
		*s = SQE{ioprio: 0, fd: -1, off: 5, addr: 6, len: 7, userData: 8, bufIndex: 9, addr3: 10, opFlags: 0}
		reap(t, r, 1)
	}
}

// An SQE that the kernel rejects: with SUBMIT_ALL the batch goes on; without, Enter returns early and the rest goes
// with the next one.
func TestRejectedSubmission(t *testing.T) {
	for _, c := range []struct {
		name    string
		disable Feature
		pending uint32
	}{{"SUBMIT_ALL", 0, 0}, {"without", FeatureSubmitAll, 1}} {
		t.Run(c.name, func(t *testing.T) {
			r := ownRing(t, Options{Entries: 8, Disable: c.disable})
			submit(t, r, 0).Nop()
			submit(t, r, 1).opcode = 0xff
			submit(t, r, 2).Nop()
			must(t, r.Enter(3))
			if r.Pending() != c.pending {
				t.Fatalf("%d pending, want %d", r.Pending(), c.pending)
			}
			for i, cqe := range reap(t, r, 3) {
				want := map[bool]int32{true: failed(unix.EINVAL)}[i == 1]
				if cqe.UserData != uint64(i) || cqe.Res != want {
					t.Fatalf("completion %d: %+v", i, cqe)
				}
			}
		})
	}
}

func TestReapInBatches(t *testing.T) {
	r := ownRing(t, Options{Entries: 8})
	for i := range uint64(8) {
		submit(t, r, i).Nop()
	}
	must(t, r.Enter(8))
	next, dst := uint64(0), make([]CQE, 3)
	for _, want := range []int{3, 3, 2, 0} {
		n := r.Reap(dst)
		if n != want {
			t.Fatalf("reaped %d, want %d", n, want)
		}
		for _, c := range dst[:n] {
			if c.UserData != next {
				t.Fatalf("completion of %d, want %d", c.UserData, next)
			}
			next++
		}
	}
	if _, ok := r.Peek(); ok || r.Reap(nil) != 0 {
		t.Fatal("completions out of nowhere")
	}
}

// More completions than the CQ holds: a multishot poll ends (no F_MORE), and nothing is lost (IORING_FEAT_NODROP).
func TestCompletionQueueOverflow(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		o.Entries, o.CQEntries = 8, 8
		r := ownRing(t, o)
		e := eventFD(t)
		const poll, nops = 1 << 20, 24
		submit(t, r, poll).PollAdd(e, unix.POLLIN, true)
		must(t, r.Enter(0))
		for range 12 {
			must(t, sys.Signal(int(e)))
			must(t, r.Enter(0))
		}
		for i := range uint64(nops) {
			s := r.SQE()
			for s == nil {
				must(t, r.Enter(0))
				s = r.SQE()
			}
			s.Nop()
			s.SetUserData(i)
		}
		must(t, r.Enter(0))
		if r.Ready() != 8 || !r.NeedsEnter() {
			t.Fatalf("%d ready of a queue of 8, overflow seen: %v", r.Ready(), r.NeedsEnter())
		}
		checkOverflow(t, r, poll, nops)
		submit(t, r, poll).PollAdd(e, unix.POLLIN, true) // armed again: the counter was never read, so it fires
		if c := reap(t, r, 1)[0]; c.UserData != poll || c.Flags&CQEFMore == 0 {
			t.Fatalf("armed again: %+v", c)
		}
	})
}

func checkOverflow(t *testing.T, r *Ring, poll uint64, nops int) {
	t.Helper()
	seen, polls, ended := map[uint64]int{}, 0, false
	for len(seen) < nops || !ended {
		c := reap(t, r, 1)[0]
		switch {
		case c.UserData != poll:
			seen[c.UserData]++
		case ended:
			t.Fatal("a poll completed after it had ended")
		default:
			polls++
			ended = c.Flags&CQEFMore == 0
		}
	}
	for u, n := range seen {
		if n != 1 {
			t.Errorf("operation %d completed %d times", u, n)
		}
	}
	must(t, r.Enter(0))
	if polls < 2 || r.Ready() != 0 || r.NeedsEnter() {
		t.Fatalf("%d polls, %d left, needs enter: %v", polls, r.Ready(), r.NeedsEnter())
	}
}

// A spinning owner learns of completions that wait for it in the kernel without a system call.
func TestNeedsEnterAnnouncesTaskWork(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		e := eventFD(t)
		submit(t, r, 1).PollAdd(e, unix.POLLIN, false)
		must(t, r.Enter(0))
		if r.NeedsEnter() || r.Ready() != 0 {
			t.Fatal("something to do before anything happened")
		}
		errs := make(chan error, 1)
		go func() { errs <- sys.Signal(int(e)) }()
		for late := time.Now().Add(patience); r.Ready() == 0; {
			if r.NeedsEnter() {
				must(t, r.Enter(0))
			}
			if time.Now().After(late) {
				t.Fatal("the completion stayed unseen")
			}
		}
		must(t, <-errs)
		wantRes(t, "poll", reap(t, r, 1)[0].Res, unix.POLLIN)
	})
}
