// Package iouring is the Linux kernel's io_uring(7) for one submitting thread: setup, enter, register, the two rings,
// the dozen operations that a block device needs, and a probe that says what the running kernel has.
//
// # Which goroutine may call
//
// A Ring has one owner. New may run anywhere and makes the ring disabled (IORING_SETUP_R_DISABLED). Then, on the
// goroutine that will own it:
//
//	runtime.LockOSThread() // and never unlock
//	err := ring.Enable()   // the kernel remembers this thread as the only submitter
//	for {
//		for sqe := ring.SQE(); ...    // fill
//		err := ring.Enter(wait)       // the only place to sleep, and one system call for the whole batch
//		for c, ok := ring.Peek(); ... // reap
//	}
//
// An unlocked goroutine moves between threads, and the kernel answers EEXIST to a thread that is not the submitter.
// A locked goroutine that returns takes its thread with it, and requests whose submitter is gone complete with -EFAULT
// or -ECANCELED: reap everything before the goroutine returns and before Close. FD and Features may be called from
// anywhere; the Register functions before Enable from anywhere, after it by the owner.
//
// Enter returning nil promises nothing about the number of completions: a signal or a short submission ends the wait.
// The caller looks at Ready and goes round; what was not submitted stays pending and goes with the next Enter.
//
// # Which memory may be named in an SQE
//
// Only memory outside the Go heap and stacks: an Arena's, or guest memory. The compiler believes that an address turned
// into an integer does not escape, so a variable named in an SQE may move while the kernel writes to where it was.
// That is why every prep method takes addresses as uint64. Data must stay mapped until the CQE has been reaped.
//
// # What is trusted
//
// The kernel is. Nothing here reads bytes that a guest or a front-end wrote. A CQE's Res is the result of an operation
// on their memory and files, and is the caller's to judge: short counts, -EINTR and -EAGAIN are legal there.
//
// The errors of New, Probe, Enable, Enter and the Register functions, mistakes in their arguments apart, are an
// *UnsupportedError, or wrap the kernel's unix.Errno and say what to do about it.
//
// # Where to read next
//
// ring.go (setup and the fallbacks for kernels down to 5.15), enter.go (the system call), sq.go and cq.go (the rings),
// sqe.go (the operations), probe.go (what `vublk info` shows), uapi.go (the ABI, as in linux/io_uring.h).
package iouring
