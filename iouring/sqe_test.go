package iouring

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// putIovecs encodes iovecs into off-heap memory.
func putIovecs(b Block, iov ...Iovec) (addr uint64, n uint32) {
	mem := b.Bytes()[:0]
	for _, v := range iov {
		mem = binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(mem, v.Base), v.Len)
	}
	return b.Addr(), uint32(len(iov))
}

func TestDirectIO(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		fd := file(t, 1<<20, unix.O_DIRECT)
		buf, iov := offHeap(t, 4*4096), offHeap(t, 4096)
		out, in := buf.Bytes()[:8192], buf.Bytes()[8192:]
		for i := range out {
			out[i] = byte(i / 7)
		}
		a, page := buf.Addr(), uint64(4096)
		wantRes(t, "WRITE", do(t, r, func(s *SQE) { s.Write(fd, a, 8192, 4096) }), 8192)
		wantRes(t, "READ", do(t, r, func(s *SQE) { s.Read(fd, a+2*page, 8192, 4096) }), 8192)
		if !bytes.Equal(in, out) {
			t.Fatal("READ returned other data than WRITE wrote")
		}
		clear(in)
		v, n := putIovecs(iov, Iovec{a + page, page}, Iovec{a, page})
		wantRes(t, "WRITEV", do(t, r, func(s *SQE) { s.Writev(fd, v, n, 65536, RWFDsync) }), 8192)
		v, n = putIovecs(iov, Iovec{a + 3*page, page}, Iovec{a + 2*page, page})
		wantRes(t, "READV", do(t, r, func(s *SQE) { s.Readv(fd, v, n, 65536, 0) }), 8192)
		if !bytes.Equal(in, out) {
			t.Fatal("READV returned other data than WRITEV wrote")
		}
		wantRes(t, "fdatasync", do(t, r, func(s *SQE) { s.Fsync(fd, true) }), 0)
		wantRes(t, "fsync", do(t, r, func(s *SQE) { s.Fsync(fd, false) }), 0)
		wantRes(t, "READ past the end", do(t, r, func(s *SQE) { s.Read(fd, a, 4096, 1<<20) }), 0)
	})
}

func TestWriteWithRWFlags(t *testing.T) {
	r := ownRing(t, Options{Entries: 4})
	fd, buf := file(t, 8192, unix.O_DIRECT), offHeap(t, 4096)
	write := func(flags uint32) int32 {
		return do(t, r, func(s *SQE) {
			s.Write(fd, buf.Addr(), 4096, 0)
			s.SetRWFlags(flags)
		})
	}
	wantRes(t, "RWF_DSYNC", write(RWFDsync), 4096)
	wantRes(t, "RWF_SYNC", write(RWFSync), 4096)
	wantRes(t, "no such flag", write(1<<31), failed(unix.EOPNOTSUPP))
}

func TestFallocatePunchesHoles(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		fd, buf := file(t, 1<<20, 0), offHeap(t, 1<<16)
		for i := range buf.Bytes() {
			buf.Bytes()[i] = 0xa5
		}
		wantRes(t, "WRITE", do(t, r, func(s *SQE) { s.Write(fd, buf.Addr(), 1<<16, 0) }), 1<<16)
		wantRes(t, "fsync", do(t, r, func(s *SQE) { s.Fsync(fd, false) }), 0)
		const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		before := blocks(t, fd)
		wantRes(t, "FALLOCATE", do(t, r, func(s *SQE) { s.Fallocate(fd, punch, 4096, 1<<16-8192) }), 0)
		if after := blocks(t, fd); after >= before {
			t.Fatalf("%d blocks before, %d after", before, after)
		}
		wantRes(t, "READ", do(t, r, func(s *SQE) { s.Read(fd, buf.Addr(), 1<<16, 0) }), 1<<16)
		for i, c := range buf.Bytes() {
			if hole := i >= 4096 && i < 1<<16-4096; hole != (c == 0) {
				t.Fatalf("byte %d is %#x", i, c)
			}
		}
		wantRes(t, "no such mode", do(t, r, func(s *SQE) { s.Fallocate(fd, 1<<30, 0, 1) }), failed(unix.EOPNOTSUPP))
	})
}

func blocks(t *testing.T, fd int32) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(int(fd), &st))
	return st.Blocks
}

// What a front-end does to its memory is a result, not a signal: -EFAULT.
func TestTruncatedMemory(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		guest := memfd(t, 8192)
		mem, err := unix.Mmap(int(guest), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		defer func() { must(t, unix.Munmap(mem)) }()
		must(t, unix.Ftruncate(int(guest), 4096))
		gone, iov := address(mem)+4096, offHeap(t, 16)
		v, n := putIovecs(iov, Iovec{gone, 4096})
		for name, fd := range map[string]int32{"buffered": file(t, 8192, 0), "direct": file(t, 8192, unix.O_DIRECT)} {
			fault := failed(unix.EFAULT)
			wantRes(t, name+" READ", do(t, r, func(s *SQE) { s.Read(fd, gone, 4096, 0) }), fault)
			wantRes(t, name+" READV", do(t, r, func(s *SQE) { s.Readv(fd, v, n, 0, 0) }), fault)
			wantRes(t, name+" WRITEV", do(t, r, func(s *SQE) { s.Writev(fd, v, n, 0, 0) }), fault)
		}
	})
}

func TestIovecsMayBeReusedAfterEnter(t *testing.T) {
	r := ownRing(t, Options{Entries: 8})
	fd, buf, iov := file(t, 1<<16, 0), offHeap(t, 8192), offHeap(t, 16)
	for i := range uint64(8) { // io-wq threads run them after the one iovec has changed eight times
		v, n := putIovecs(iov, Iovec{buf.Addr() + i*1024, 1024})
		buf.Bytes()[i*1024] = byte(i + 1)
		s := submit(t, r, i)
		s.Writev(fd, v, n, i*1024, 0)
		s.SetFlags(Async)
		must(t, r.Enter(0))
	}
	clear(iov.Bytes())
	for _, c := range reap(t, r, 8) {
		wantRes(t, "WRITEV", c.Res, 1024)
	}
	clear(buf.Bytes())
	wantRes(t, "READ", do(t, r, func(s *SQE) { s.Read(fd, buf.Addr(), 8192, 0) }), 8192)
	for i := range 8 {
		if got := buf.Bytes()[i*1024]; got != byte(i+1) {
			t.Errorf("write %d has the data of %d", i, got)
		}
	}
}

func TestLinks(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		fd, buf := file(t, 8192, 0), offHeap(t, 4096)
		for _, c := range []struct {
			name   string
			fd     int32
			flags  SQEFlags
			result [2]int32
		}{
			{"both succeed", fd, IOLink, [2]int32{4096, 0}},
			{"first fails", -1, IOLink, [2]int32{failed(unix.EBADF), failed(unix.ECANCELED)}},
			{"first fails, hard", -1, IOHardlink, [2]int32{failed(unix.EBADF), 0}},
		} {
			s := submit(t, r, 0)
			s.Write(c.fd, buf.Addr(), 4096, 0)
			s.SetFlags(c.flags)
			submit(t, r, 1).Fsync(fd, true)
			for _, cqe := range reap(t, r, 2) {
				wantRes(t, c.name, cqe.Res, c.result[cqe.UserData])
			}
		}
	})
}

func TestSkipSuccess(t *testing.T) {
	r := ownRing(t, Options{Entries: 8})
	if !r.Features().Has(FeatureCQESkip) {
		t.Fatal("this kernel has no CQE_SKIP")
	}
	s := submit(t, r, 1)
	s.Nop()
	s.SetFlags(SkipSuccess)
	s = submit(t, r, 2)
	s.Read(-1, 0, 0, 0)
	s.SetFlags(SkipSuccess)
	submit(t, r, 3).Nop()
	cqes := reap(t, r, 2)
	if cqes[0] != (CQE{UserData: 2, Res: failed(unix.EBADF)}) || cqes[1] != (CQE{UserData: 3}) || r.Ready() != 0 {
		t.Fatalf("completions %+v and %d more", cqes, r.Ready())
	}
}

// A drained operation starts after everything before it has completed.
func TestDrain(t *testing.T) {
	variants(t, func(t *testing.T, o Options) {
		r := ownRing(t, o)
		e := eventFD(t)
		submit(t, r, 1).PollAdd(e, unix.POLLIN, false)
		s := submit(t, r, 2)
		s.Nop()
		s.SetFlags(IODrain)
		must(t, r.Enter(0))
		if r.Ready() != 0 {
			t.Fatal("the operation did not wait")
		}
		must(t, sys.Signal(int(e)))
		if c := reap(t, r, 2); c[0].UserData != 1 || c[1] != (CQE{UserData: 2}) {
			t.Fatalf("completions %+v", c)
		}
	})
}
