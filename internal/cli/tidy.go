package cli

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// quietTime is for how long no export may have changed its state before the process is tidied.
	quietTime = 3 * time.Second
	// idleThreads are those of the runtime beside the workers and what may run Go code: the first thread, sysmon, the one
	// that starts others for locked goroutines, the one that waits for signals.
	idleThreads = 4
)

// tidier gives back what a burst leaves behind: many exports that start, front-ends that come or leave together. The runtime
// alone would free the memory minutes later, with a wake-up at each step, and would never end the threads (golang/go#14592),
// which it starts whenever more calls wait in the kernel than before.
//
// This is for the process of a command, not for whoever embeds packages of this module: a child that asked for a signal at
// its parent's death gets it when the thread that made it ends (prctl(2), PR_SET_PDEATHSIG). A process that serves has none.
type tidier struct {
	timer   *time.Timer
	threads int // that may stay
}

func newTidier(threads int) *tidier {
	t := &tidier{threads: threads}
	t.timer = time.AfterFunc(quietTime, t.tidy)
	return t
}

// note puts the tidying off, or has it done again. Any goroutine may call it.
func (t *tidier) note() { t.timer.Reset(quietTime) }

func (t *tidier) stop() { t.timer.Stop() }

func (t *tidier) tidy() {
	debug.FreeOSMemory()
	for range 2 * (threads() - t.threads) { // one that ends is counted for a moment, and one is the first, which cannot end
		if threads() <= t.threads {
			return
		}
		endThread()
		time.Sleep(time.Millisecond)
	}
}

// endThread ends one thread that has nothing to do: it makes it a goroutine's own, and that ends.
func endThread() {
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked
		close(ended)
	}()
	<-ended
}

// threads counts those of the runtime: io_uring's, which come and go with the load, are not its own.
func threads() int {
	n, _ := runtime.ThreadCreateProfile(nil)
	return n
}
