package bench

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
)

// child is a shell that runs a script. It lives until its input ends.
func child(t *testing.T, script string) (pid int, lines *bufio.Reader, end func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script+"; echo done; read x; exit 0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, bufio.NewReader(out), end
}

// TestMeterCountsCPU: a child that has used CPU time and now waits has used as much as it says itself.
func TestMeterCountsCPU(t *testing.T) {
	pid, lines, _ := child(t, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	m, err := NewMeter(pid)
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if first.CPU < 5*time.Millisecond || first.Threads != 1 || first.Memory < 64<<10 || first.Switches() < 1 {
		t.Errorf("a shell that counted to 100,000 has used %+v", first)
	}
	cpu, err := m.CPU()
	if err != nil || cpu < first.CPU || cpu > first.CPU+100*time.Millisecond {
		t.Errorf("%v of CPU time by a process that waits, %v before; %v", cpu, first.CPU, err)
	}
}

// TestMeterAgreesWithTheKernel: our own CPU time is what getrusage(2) says.
func TestMeterAgreesWithTheKernel(t *testing.T) {
	m, err := NewMeter(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 30*time.Millisecond; {
		continue
	}
	before := ownCPU(t)
	cpu, err := m.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if after := ownCPU(t); cpu < before-time.Millisecond || cpu > after+time.Millisecond {
		t.Errorf("the meter says %v, getrusage %v to %v", cpu, before, after)
	}
}

func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestUsageSub(t *testing.T) {
	a := Usage{CPU: 3, Voluntary: 10, Involuntary: 20, Threads: 7, Memory: 100}
	b := Usage{CPU: 5, Voluntary: 13, Involuntary: 19, Threads: 8, Memory: 90}
	if d := b.Sub(a); d != (Usage{CPU: 2, Voluntary: 3, Involuntary: -1, Threads: 8, Memory: 90}) || d.Switches() != 2 {
		t.Errorf("difference %+v", d)
	}
}

func TestMeterOfNobody(t *testing.T) {
	pid, _, end := child(t, ":")
	m, err := NewMeter(pid)
	if err != nil {
		t.Fatal(err)
	}
	end()
	gone := (*GoneError)(nil)
	if _, err := m.Read(); !errors.As(err, &gone) || gone.PID != pid {
		t.Errorf("Read: error %v, want that process %d is gone", err, pid)
	}
	if _, err := m.CPU(); !errors.As(err, &gone) {
		t.Errorf("CPU: error %v", err)
	}
	if _, err := NewMeter(pid); !errors.As(err, &gone) {
		t.Errorf("NewMeter: error %v", err)
	}
	if _, err := NewMeter(0); err == nil || errors.As(err, &gone) {
		t.Errorf("NewMeter(0): error %v", err)
	}
}

// TestMeterKnowsItsProcess: a pid that has become somebody else's is not measured.
func TestMeterKnowsItsProcess(t *testing.T) {
	m, err := NewMeter(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	m.born += "1"
	gone := (*GoneError)(nil)
	if _, err := m.Read(); !errors.As(err, &gone) {
		t.Errorf("error %v", err)
	}
}

// TestRunMeasuresTheBackend: here it is this process, whose CPU time is also known otherwise.
func TestRunMeasuresTheBackend(t *testing.T) {
	socket := serve(t, memDisk(t, mib), blk.DeviceOptions{})
	for name, c := range map[string]Config{
		"found":           {Warmup: 10 * time.Millisecond},
		"without warm-up": {},
		"given":           {BackendPID: os.Getpid()},
		"two queues":      {Queues: 2, Warmup: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			c.Socket, c.Depth, c.Duration = socket, 4, 100*time.Millisecond
			before := ownCPU(t)
			r, err := Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			used := ownCPU(t) - before
			if r.BackendPID != os.Getpid() || r.BackendCPU <= 0 || r.BackendCPU > used || r.Backend.CPU < r.BackendCPU {
				t.Errorf("pid %d used %v measured, %v around, of %v", r.BackendPID, r.BackendCPU, r.Backend.CPU, used)
			}
			share := r.BackendCPU.Seconds() / r.CPUPerRequest.Seconds() / float64(r.Requests)
			// A request's share is rounded to nanoseconds; and two queues are not measured over quite the same time.
			if c.Queues < 2 && (share < 0.95 || share > 1.05) || share <= 0 {
				t.Errorf("%v a request, %d requests, %v in all", r.CPUPerRequest, r.Requests, r.BackendCPU)
			}
			if uint64(r.Histogram.TotalCount()) != r.Requests {
				t.Errorf("the histogram has %d of %d requests", r.Histogram.TotalCount(), r.Requests)
			}
		})
	}
	r, err := Run(context.Background(), Config{Socket: socket, BackendPID: -1, Duration: 10 * time.Millisecond})
	if err != nil || r.BackendPID != 0 || r.BackendCPU != 0 || r.CPUPerRequest != 0 {
		t.Errorf("measured although that was not wanted: %+v, %v", r, err)
	}
}

func TestRunRefusesAProcessThatIsGone(t *testing.T) {
	socket := serve(t, memDisk(t, mib), blk.DeviceOptions{})
	pid, _, end := child(t, ":")
	end()
	gone := (*GoneError)(nil)
	if _, err := Run(context.Background(), Config{Socket: socket, BackendPID: pid}); !errors.As(err, &gone) {
		t.Errorf("error %v, want that the back-end is gone", err)
	}
}
