package blk

import "golang.org/x/sys/unix"

// promptMax is the largest request, in bytes, that a worker copies itself: some 10 us, in which its other queues wait.
const promptMax = 64 << 10

// submitPrompt moves what is left of a read or write at once, on a Disk that is nothing but memory. io_uring would hand it
// to a kernel thread, because such a file system (tmpfs) does not promise to never block, and the hand-over and the way
// back cost more than the copy. It blocks when the memory has been swapped out: who swaps his disk has that
// anyway, a thread later.
func (w *worker) submitPrompt(s *slot, iovecs int, flags uint32) {
	call := uintptr(unix.SYS_PREADV2)
	if s.kind == RequestOut {
		call = unix.SYS_PWRITEV2
	}
	d := s.queue.dev
	for {
		// The offset's upper half (pos_h) is only read on 32-bit machines.
		n, _, errno := unix.Syscall6(call, uintptr(d.fd), uintptr(w.rowAddr(s)), uintptr(iovecs), uintptr(s.off), 0, uintptr(flags))
		switch errno {
		case 0:
			w.stepDone(s, int32(n)) // at most promptMax
			return
		case unix.EINTR:
		default:
			w.stepDone(s, -int32(errno))
			return
		}
	}
}

// prompt tells whether a request is to be done at once.
func (d *Device) prompt(s *slot) bool { return d.inMemory && s.left <= promptMax }
