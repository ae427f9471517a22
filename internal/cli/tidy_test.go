package cli

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTidy ends threads that have nothing to do.
func TestTidy(t *testing.T) {
	var blocked [64][2]int
	for i := range blocked {
		if err := unix.Pipe2(blocked[i][:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, len(blocked))
	for _, p := range blocked {
		go func() {
			var b [1]byte
			_, err := unix.Read(p[0], b[:]) // it takes a thread until it returns
			ended <- err
		}()
	}
	const few = 30
	for threads() < few+len(blocked)/2 {
		time.Sleep(time.Millisecond) // the goroutines need time to block
	}
	for _, p := range blocked {
		if err := unix.Close(p[1]); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := unix.Close(p[0]); err != nil {
			t.Fatal(err)
		}
	}
	before := threads()
	(&tidier{threads: few}).tidy()
	if n := threads(); n > few+5 || n >= before {
		t.Errorf("%d threads before, %d left, want about %d", before, n, few)
	}
}
