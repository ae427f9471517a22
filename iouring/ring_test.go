package iouring

import (
	"runtime"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"no entries":               {},
		"too many entries":         {Entries: MaxEntries + 1},
		"fewer completions":        {Entries: 64, CQEntries: 32},
		"too many completions":     {Entries: 64, CQEntries: MaxCQEntries + 1},
		"completions out of range": {Entries: 64, CQEntries: 1 << 31},
	} {
		if r, err := New(o); err == nil {
			_ = r.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSizesAreRoundedUp(t *testing.T) {
	for _, c := range []struct{ sq, cq, wantSQ, wantCQ uint32 }{
		{1, 0, 1, 2}, {5, 0, 8, 16}, {100, 100, 128, 128}, {16, 1000, 16, 1024},
	} {
		r, err := New(Options{Entries: c.sq, CQEntries: c.cq})
		must(t, err)
		if sq, cq := r.Entries(); sq != c.wantSQ || cq != c.wantCQ {
			t.Errorf("asked for %d and %d, got %d and %d", c.sq, c.cq, sq, cq)
		}
		must(t, r.Close())
	}
}

// A ring made on one goroutine, enabled and used on another that is locked to its thread.
func TestEnableElsewhere(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r, err := New(o)
		must(t, err)
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
			done <- enableAndUse(r)
		}()
		must(t, <-done)
		must(t, r.Close())
	})
}

func enableAndUse(r *Ring) error {
	if err := r.Enable(); err != nil {
		return err
	}
	for round := range uint64(100) { // laps of the rings
		for i := range uint64(7) {
			s := r.SQE()
			s.Nop()
			s.SetUserData(round*7 + i)
		}
		if err := r.Enter(7); err != nil {
			return err
		}
		for i := range uint64(7) {
			c, ok := r.Peek()
			if !ok || c.UserData != round*7+i || c.Res != 0 {
				return errors.Errorf("round %d: completion %d is %+v, %v", round, i, c, ok)
			}
			r.Seen()
		}
		if r.Ready() != 0 || r.Pending() != 0 {
			return errors.Errorf("left over: %d completions, %d submissions", r.Ready(), r.Pending())
		}
	}
	return nil
}

func TestForeignThreadGetsEEXIST(t *testing.T) {
	r := ownRing(t, Options{Entries: 4})
	r.SQE().Nop()
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		errs <- r.Enter(0)
		errs <- r.RegisterFiles([]int{0})
	}()
	for range 2 {
		if err := <-errs; !errors.Is(err, unix.EEXIST) {
			t.Errorf("from another thread: %v, want EEXIST", err)
		}
	}
	wantRes(t, "own thread", reap(t, r, 1)[0].Res, 0)
}

func TestEnterBeforeEnable(t *testing.T) {
	r, err := New(Options{Entries: 4})
	must(t, err)
	if err := r.Enter(0); !errors.Is(err, unix.EBADFD) {
		t.Errorf("not enabled: %v, want EBADFD", err)
	}
	must(t, r.Enable())
	if err := r.Enable(); !errors.Is(err, unix.EBADFD) {
		t.Errorf("enabled twice: %v, want EBADFD", err)
	}
	must(t, r.Close())
}

func TestCloseTwice(t *testing.T) {
	r, err := New(Options{Entries: 4})
	must(t, err)
	for range 2 {
		must(t, r.Close())
		if r.FD() != -1 {
			t.Fatal("a closed ring has a descriptor")
		}
	}
}

func TestDisable(t *testing.T) {
	for i := range featureTable {
		off := featureTable[i].feature
		r, err := New(Options{Entries: 4, Disable: off})
		must(t, err)
		want := AllFeatures.without(off)
		if got := r.Features(); got != want {
			t.Errorf("without %v: has %v, want %v", off, got, want)
		}
		must(t, r.Close())
	}
}

// On kernels that do not know the younger setup flags, setup falls back step by step.
func TestOlderKernels(t *testing.T) {
	const (
		since66  = uint32(setupNoSQArray)
		since61  = since66 | setupDeferTaskrun
		since60  = since61 | setupSingleIssuer
		since519 = since60 | setupCoopTaskrun | setupTaskrunFlag
		since518 = since519 | setupSubmitAll
	)
	have := AllFeatures &^ FeatureBlockDiscard
	for _, c := range []struct {
		release string
		unknown uint32 // setup flags that this kernel rejects
		want    Feature
		tries   int
	}{
		{"6.18.44", 0, AllFeatures, 1},
		{"6.11.0-rc1+", 0, have, 1},
		{"6.5.0", since66, have &^ FeatureNoSQArray, 2},
		{"6.0.12-generic", since61, have &^ (FeatureNoSQArray | FeatureDeferTaskrun), 3},
		{"5.19", since60, have &^ (FeatureNoSQArray | FeatureDeferTaskrun | FeatureSingleIssuer), 4},
		{"5.18.0", since519, have &^ (setupFeatures &^ FeatureSubmitAll), 5},
		{"5.15.1", since518, have &^ setupFeatures, 6},
	} {
		k, tries := host(), 0
		k.release = c.release
		k.setup = func(entries uint32, p *setupParams) (int, unix.Errno) {
			tries++
			if p.flags&c.unknown != 0 {
				return -1, unix.EINVAL
			}
			return setup(entries, p)
		}
		r, err := newRing(k, Options{Entries: 8})
		must(t, err)
		if r.Features() != c.want || tries != c.tries {
			t.Errorf("Linux %s: %v after %d tries, want %v after %d", c.release, r.Features(), tries, c.want, c.tries)
		}
		must(t, r.Close())
	}
}

func TestReleaseCompares(t *testing.T) {
	for _, c := range []struct {
		release string
		want    bool // at least 6.12
	}{
		{"6.12", true},
		{"6.12.0-rc3", true},
		{"6.18.44-fc", true},
		{"7.0", true},
		{"6.11.99", false},
		{"5.15.0-130-generic", false},
		{"6", false},
		{"", false},
		{"strange", false},
	} {
		if got := (kernel{release: c.release}).atLeast(release{6, 12}); got != c.want {
			t.Errorf("%q at least 6.12: %v", c.release, got)
		}
	}
}

func TestFeatureString(t *testing.T) {
	for want, f := range map[string]Feature{
		"none":                     0,
		"MSG_RING":                 FeatureMsgRing,
		"SUBMIT_ALL, COOP_TASKRUN": FeatureCoopTaskrun | FeatureSubmitAll,
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
	if AllFeatures.without(FeatureCoopTaskrun).Has(FeatureDeferTaskrun) {
		t.Error("DEFER_TASKRUN stays without a flag that announces task work")
	}
}
