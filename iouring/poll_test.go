package iouring

import (
	"runtime"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// A multishot poll of an eventfd that is never read: each write gives a completion. This is how kicks arrive.
func TestMultishotPoll(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		e := eventFD(t)
		submit(t, r, 7).PollAdd(e, unix.POLLIN, true)
		must(t, r.Enter(0))
		for i := range 100 {
			must(t, sys.Signal(int(e)))
			c := reap(t, r, 1)[0]
			if c.UserData != 7 || c.Res != unix.POLLIN || c.Flags&CQEFMore == 0 {
				t.Fatalf("write %d: %+v", i, c)
			}
			must(t, r.Enter(0))
			if r.Ready() != 0 {
				t.Fatalf("write %d gave two completions", i)
			}
		}
		submit(t, r, 8).PollRemove(7)
		for _, c := range reap(t, r, 2) {
			want := map[uint64]int32{7: failed(unix.ECANCELED), 8: 0}[c.UserData]
			if wantRes(t, "POLL_REMOVE", c.Res, want); c.Flags&CQEFMore != 0 {
				t.Fatalf("not the end: %+v", c)
			}
		}
		wantRes(t, "again", do(t, r, func(s *SQE) { s.PollRemove(7) }), failed(unix.ENOENT))
	})
}

func TestTimeouts(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		ts := offHeap(t, TimespecSize)
		PutTimespec(ts.Bytes(), 20*time.Millisecond)
		began := time.Now()
		wantRes(t, "TIMEOUT", do(t, r, func(s *SQE) { s.Timeout(ts.Addr(), 0, 0) }), failed(unix.ETIME))
		if took := time.Since(began); took < 15*time.Millisecond {
			t.Fatalf("20 ms were over after %v", took)
		}
		PutTimespec(ts.Bytes(), time.Hour+time.Nanosecond)
		submit(t, r, 1).Timeout(ts.Addr(), 1, 0)
		submit(t, r, 2).Nop()
		for _, c := range reap(t, r, 2) {
			wantRes(t, "timeout after one completion", c.Res, 0)
		}
		submit(t, r, 1).Timeout(ts.Addr(), 0, 0)
		submit(t, r, 2).TimeoutRemove(1)
		for _, c := range reap(t, r, 2) {
			wantRes(t, "TIMEOUT_REMOVE", c.Res, map[uint64]int32{1: failed(unix.ECANCELED), 2: 0}[c.UserData])
		}
	})
}

func TestCancel(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		e, buf := eventFD(t), offHeap(t, 8)
		submit(t, r, 1).Read(blocking(t), buf.Addr(), 8, 0)
		must(t, r.Enter(0))
		submit(t, r, 2).Cancel(1, 0)
		for _, c := range reap(t, r, 2) {
			wantRes(t, "ASYNC_CANCEL", c.Res, map[uint64]int32{1: failed(unix.ECANCELED), 2: 0}[c.UserData])
		}
		wantRes(t, "again", do(t, r, func(s *SQE) { s.Cancel(1, 0) }), failed(unix.ENOENT))
		for range 3 {
			submit(t, r, 5).PollAdd(e, unix.POLLIN, true)
		}
		must(t, r.Enter(0))
		submit(t, r, 6).Cancel(5, CancelAll)
		for _, c := range reap(t, r, 4) {
			wantRes(t, "CANCEL_ALL", c.Res, map[uint64]int32{5: failed(unix.ECANCELED), 6: 3}[c.UserData])
		}
		submit(t, r, 5).PollAdd(e, unix.POLLIN, true)
		must(t, r.Enter(0))
		submit(t, r, 6).Cancel(0, CancelAny)
		for _, c := range reap(t, r, 2) {
			wantRes(t, "CANCEL_ANY", c.Res, map[uint64]int32{5: failed(unix.ECANCELED), 6: 1}[c.UserData])
		}
	})
}

// blocking returns a descriptor from which a read waits.
func blocking(t *testing.T) int32 {
	t.Helper()
	var p [2]int
	must(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	t.Cleanup(func() {
		must(t, unix.Close(p[0]))
		must(t, unix.Close(p[1]))
	})
	return int32(p[0])
}

// Two workers wake each other out of Enter.
func TestMsgRing(t *testing.T) {
	for name, disable := range map[string]Feature{
		"deferred": 0, "not deferred": FeatureDeferTaskrun, "5.18": AllFeatures &^ (FeatureMsgRing | FeatureSubmitAll),
	} {
		t.Run(name, func(t *testing.T) {
			r := ownRing(t, Options{Entries: 8, Disable: disable})
			if !r.Features().Has(FeatureMsgRing) {
				t.Fatal("this kernel has no MSG_RING")
			}
			peer, err := New(Options{Entries: 8, Disable: disable})
			must(t, err)
			early := do(t, r, func(s *SQE) { s.MsgRing(int32(peer.FD()), 1, 1) })
			wantRes(t, "to a ring that is not enabled", early, failed(unix.EBADFD))
			enabled, done := make(chan error, 1), make(chan error, 1)
			go func() {
				runtime.LockOSThread()
				enabled <- peer.Enable()
				done <- echo(peer, int32(r.FD()))
			}()
			must(t, <-enabled)
			for i := range uint64(100) {
				submit(t, r, 1<<40).MsgRing(int32(peer.FD()), i, int32(i))
				for _, c := range reap(t, r, 2) {
					if want := map[uint64]int32{1 << 40: 0, i + 1000: -int32(i)}; c.Res != want[c.UserData] {
						t.Fatalf("message %d: %+v", i, c)
					}
				}
			}
			must(t, <-done)
			must(t, peer.Close())
		})
	}
}

// echo answers 100 messages.
func echo(r *Ring, to int32) error {
	var sent int
	for got := 0; got < 100 || sent < 100; {
		if err := r.Enter(1); err != nil {
			return err
		}
		for c, ok := r.Peek(); ok; c, ok = r.Peek() {
			r.Seen()
			if c.UserData == 1<<41 {
				if sent++; c.Res != 0 {
					return errors.Errorf("answer %d: result %d", sent, c.Res)
				}
				continue
			}
			if c.UserData != uint64(got) || c.Res != int32(got) {
				return errors.Errorf("message %d arrived as %+v", got, c)
			}
			got++
			s := r.SQE()
			s.MsgRing(to, c.UserData+1000, -c.Res)
			s.SetUserData(1 << 41)
		}
	}
	return nil
}
