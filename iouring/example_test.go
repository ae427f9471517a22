package iouring_test

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vublk/vublk/iouring"
)

// check ends an example; a program returns its errors.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Write a file and read it back: the write and the fsync behind it are linked and need one system call, as does the read.
func Example() {
	file, err := os.CreateTemp("", "iouring")
	check(err)
	defer func() { _ = os.Remove(file.Name()) }()
	defer func() { _ = file.Close() }()
	fd := int32(file.Fd())

	ring, err := iouring.New(iouring.Options{Entries: 8})
	check(err) // an *iouring.UnsupportedError where there is no io_uring
	arena, err := iouring.NewArena(4096)
	check(err)
	data, err := arena.Alloc(512, 512) // what an SQE names is not in the Go heap
	check(err)

	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the kernel wants one submitter; the thread ends with the goroutine
		check(ring.Enable())

		n := uint32(copy(data.Bytes(), "through a ring"))
		write := ring.SQE()
		write.Write(fd, data.Addr(), n, 0)
		write.SetFlags(iouring.IOLink)
		write.SetUserData(1)
		sync := ring.SQE()
		sync.Fsync(fd, true)
		sync.SetUserData(2)
		reap(ring, 2)

		clear(data.Bytes())
		ring.SQE().Read(fd, data.Addr(), 512, 0)
		reap(ring, 1)
		fmt.Printf("%q\n", data.Bytes()[:n])
	}()
	<-done
	check(ring.Close()) // nothing is in flight any more
	check(arena.Close())
	// Output:
	// request 1: 14
	// request 2: 0
	// request 0: 14
	// "through a ring"
}

// reap submits what is pending and waits for n completions: Enter returning nil does not promise them.
func reap(ring *iouring.Ring, n int) {
	for n > 0 {
		check(ring.Enter(1))
		for c, ok := ring.Peek(); ok; c, ok = ring.Peek() {
			fmt.Printf("request %d: %d\n", c.UserData, c.Res)
			ring.Seen()
			n--
		}
	}
}
