package iouring

import (
	"strconv"
	"testing"
)

// turn is one turn of an owner's loop: a batch of submissions, one system call, their completions. What io-wq does may take
// another call: Enter may return before all that it was to wait for is there.
func turn(r *Ring, batch int, prep func(*SQE)) int {
	for range batch {
		s := r.SQE()
		prep(s)
		s.SetUserData(1)
		s.SetFlags(0)
	}
	done := 0
	for done < batch {
		if err := r.Enter(uint32(batch - done)); err != nil {
			return -1
		}
		for c, ok := r.Peek(); ok; c, ok = r.Peek() {
			done += int(c.UserData)
			r.Seen()
		}
	}
	return done
}

// The data path allocates nothing, with every feature and with none.
func TestHotPathDoesNotAllocate(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		fd, buf, dst := memfd(t, 4096), offHeap(t, 4096), make([]CQE, 8)
		iov, n := putIovecs(offHeap(t, 16), Iovec{buf.Addr(), 4096})
		turns := map[string]func(){
			"read": func() { turn(r, 8, func(s *SQE) { s.Read(fd, buf.Addr(), 4096, 0) }) },
			"every prep": func() {
				for _, prep := range [...]func(*SQE){
					func(s *SQE) { s.Nop() },
					func(s *SQE) { s.Write(fd, buf.Addr(), 512, 0); s.SetRWFlags(RWFDsync) },
					func(s *SQE) { s.Readv(fd, iov, n, 0, 0) },
					func(s *SQE) { s.Writev(fd, iov, n, 0, RWFDsync) },
					func(s *SQE) { s.Cancel(99, 0) },
					func(s *SQE) { s.PollRemove(99) },
					func(s *SQE) { s.TimeoutRemove(99) },
					func(s *SQE) { s.MsgRing(-1, 1, 1) },
				} {
					turn(r, 1, prep)
				}
			},
			"reap": func() {
				for range 8 {
					r.SQE().Nop()
				}
				_ = r.NeedsEnter() // true when an io-wq thread of an earlier turn has something to say
				if r.Pending() != 8 || r.Enter(8) != nil || r.Ready() != 8 || r.Reap(dst) != 8 {
					t.Error("a turn of 8 did not work out")
				}
			},
			"idle": func() { _ = r.Enter(0) },
		}
		for name, f := range turns {
			if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
				t.Errorf("%s: %v allocations", name, allocs)
			}
		}
	})
}

func benchmark(b *testing.B, r *Ring, batch int, prep func(*SQE)) {
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := turn(r, batch, prep)
		if n < 0 {
			b.Fatal("Enter failed")
		}
		done += n
	}
}

// BenchmarkNop is the cost of an operation that does nothing, alone and in a batch.
func BenchmarkNop(b *testing.B) {
	for _, batch := range []int{1, 32} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			benchmark(b, ownRing(b, Options{Entries: 64}), batch, (*SQE).Nop)
		})
		b.Run(strconv.Itoa(batch)+" registered", func(b *testing.B) {
			r := ownRing(b, Options{Entries: 64})
			must(b, r.RegisterRingFD())
			benchmark(b, r, batch, (*SQE).Nop)
		})
		b.Run(strconv.Itoa(batch)+" as 5.15", func(b *testing.B) {
			benchmark(b, ownRing(b, Options{Entries: 64, Disable: AllFeatures}), batch, (*SQE).Nop)
		})
	}
}

// BenchmarkReadMemfd reads 4 KiB pages that need no device. As far as the kernel knows a memfd may block (it lacks
// FMODE_NOWAIT), so each read goes to an io-wq thread: this is the cost of that path.
func BenchmarkReadMemfd(b *testing.B) {
	for _, batch := range []int{1, 32} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			r := ownRing(b, Options{Entries: 64})
			fd, buf := memfd(b, 1<<20), offHeap(b, 4096)
			b.SetBytes(4096)
			benchmark(b, r, batch, func(s *SQE) { s.Read(fd, buf.Addr(), 4096, 8192) })
		})
	}
}
