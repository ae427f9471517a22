package bench

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func affinity(t *testing.T) unix.CPUSet {
	t.Helper()
	var s unix.CPUSet
	if err := unix.SchedGetaffinity(0, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// someCPU returns one that we may use.
func someCPU(t *testing.T) int {
	t.Helper()
	may := affinity(t)
	for cpu := 0; ; cpu++ {
		if may.IsSet(cpu) {
			return cpu
		}
	}
}

func TestPinGivesTheThreadBack(t *testing.T) {
	runtime.LockOSThread() // the one that pin locks is this one
	defer runtime.UnlockOSThread()
	before, cpu := affinity(t), someCPU(t)
	undo, err := pin(cpu)
	if err != nil {
		t.Fatal(err)
	}
	if now := affinity(t); now.Count() != 1 || !now.IsSet(cpu) {
		t.Errorf("pinned to %v", now)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if affinity(t) != before {
		t.Error("the thread is not as it was")
	}
}
