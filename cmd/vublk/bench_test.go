package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/internal/bench"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/internal/duel"
)

// quick makes a measurement as short as it can be and still measure.
var quick = []string{"--runtime=200ms", "--warmup=10ms"}

// runBench runs the command and reads its report. On a busy machine a back-end may get no CPU at all within a short
// round: then it is done again with longer ones, as the report advises.
func runBench(t *testing.T, o clitest.Options, args ...string) benchReport {
	t.Helper()
	r := runBenchOnce(t, o, append(slices.Clone(quick), args...)...)
	for _, longer := range []string{"--runtime=1s", "--runtime=4s"} {
		if !slices.ContainsFunc(r.Results, func(b benchResult) bool { return slices.Min(b.Rounds) == 0 }) {
			break
		}
		r = runBenchOnce(t, o, append(slices.Clone(args), "--warmup=10ms", longer)...)
	}
	for i := range r.Results {
		checkBenchResult(t, &r, &r.Results[i])
	}
	return r
}

func runBenchOnce(t *testing.T, o clitest.Options, args ...string) (r benchReport) {
	t.Helper()
	status, stdout, stderr := clitest.Run(t, o, append([]string{"bench", "--output=json"}, args...)...)
	if status != 0 || stderr != "" {
		t.Fatalf("%q: status %d, %s", args, status, stderr)
	}
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	return r
}

func checkBenchResult(t *testing.T, r *benchReport, b *benchResult) {
	t.Helper()
	measured := b.CPU != nil && *b.CPU > 0 && b.Switches != nil
	if b.IOPS <= 0 || b.Requests == 0 || len(b.Rounds) != r.Load.Rounds || b.P50 <= 0 || b.P50 > b.P90 || b.P90 > b.P99 || b.P99 > b.P999 ||
		b.Mean > b.Max || measured == (b.Backend == ceilingName) || (b.Sleeps > 0) != (r.Load.Driver == driverSleeping && b.Backend != ceilingName) {
		t.Errorf("%+v", b)
	}
	if r.Load.FlushPercent == 0 && b.MBps <= 0 {
		t.Errorf("%+v", b)
	}
}

// names lists the results as "back-end depth".
func (r *benchReport) names() string {
	var names []string
	for _, b := range r.Results {
		names = append(names, b.Backend+" "+itoa(b.Depth))
	}
	return strings.Join(names, ", ")
}

// temporary gives the command a directory of its own for temporary files, and sees that it leaves none.
func temporary(t *testing.T) (o clitest.Options, dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Cleanup(func() { checkNothingLeft(t, dir) })
	return clitest.Options{Env: []string{"TMPDIR=" + dir}}, dir
}

func checkNothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchStores(t *testing.T) {
	o, _ := temporary(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "disk.raw")
	content := pattern(1<<20, 3)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	changed := func() bool {
		now, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Equal(now, content)
	}
	for _, c := range []struct{ args, names string }{
		{"--store=null:1GiB", "vublk 1, vublk 32"},
		{"--store=mem:16M --rw=randrw --depth=4 --ceiling --rounds=2", "vublk 4, driver's ceiling 4"},
		{"--store=null:1GiB --depth=1..4 --driver=sleeping --packed --indirect --queues=2 --batch=1", "vublk 1, vublk 2, vublk 4"},
		{"--store=mem:16M --rw=write --bs=1M --depth=2 --no-event-idx --span=4M --seed=5", "vublk 2"},
		{"--depth=8 --store=" + file, "vublk 8"},
		{"--depth=2 --flush-percent=10 --store=" + file, "vublk 2"},
		{"--depth=2 --rw=flush --store=" + file, "vublk 2"},
	} {
		r := runBench(t, o, strings.Fields(c.args)...)
		if r.names() != c.names || r.Format != benchFormat || len(r.Ratios) != 0 {
			t.Errorf("%s: %s", c.args, r.names())
		}
		if changed() {
			t.Fatalf("%s has written into the file", c.args)
		}
	}
	// Refused: nothing is lost.
	args := append([]string{"bench", "--store=" + file, "--rw=randwrite", "--depth=1"}, quick...)
	status, _, stderr := clitest.Run(t, o, args...)
	if status != 2 || !strings.Contains(stderr, "--destroy-data") || changed() {
		t.Fatalf("status %d, %q", status, stderr)
	}
	runBench(t, o, append(args[1:], "--destroy-data")...)
	if !changed() {
		t.Error("nothing was written")
	}
}

// One that is served already, ours or another's: it is measured, and is there afterwards.
func TestBenchSocket(t *testing.T) {
	o, _ := temporary(t)
	p, file, socket := serveImage(t, clitest.Options{}, 1<<20)
	for range 2 {
		r := runBench(t, o, "--socket="+socket, "--depth=2,4")
		if r.names() != "back-end 2, back-end 4" {
			t.Error(r.names())
		}
	}
	status, _, stderr := clitest.Run(t, o, "bench", "--socket="+socket, "--rw=rw")
	if status != 2 || !strings.Contains(stderr, "--destroy-data") {
		t.Errorf("status %d, %q", status, stderr)
	}
	runBench(t, o, "--socket="+socket, "--depth=1", "--rw=write", "--destroy-data")
	if content, err := os.ReadFile(file); err != nil || bytes.Equal(content, make([]byte, len(content))) {
		t.Errorf("nothing was written (%v)", err)
	}
	p.Stop()
}

func TestBenchSocketOfQEMU(t *testing.T) {
	o, _ := temporary(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "q.sock")
	store, err := parseStore("null:1GiB", bench.Mix{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := duel.StartProcess(t.Context(), -1, filepath.Join(dir, "log"), store.qemu(peerName, socket, 1), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if r := runBench(t, o, "--socket="+socket, "--depth=16"); r.names() != "back-end 16" {
		t.Error(r.names())
	}
}

func TestBenchCompare(t *testing.T) {
	o, _ := temporary(t)
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 16<<20)
	for _, args := range [][]string{
		{"--store=null:1GiB", "--ceiling"},
		{"--store=" + file},
		{"--store=" + file, "--rw=randrw", "--flush-percent=5", "--destroy-data"}, // they take turns with the file, too
	} {
		r := runBench(t, o, append(args, "--compare", "--rounds=2", "--depth=4")...)
		want := "vublk 4, qemu-storage-daemon 4, vublk (control) 4"
		if slices.Contains(args, "--ceiling") {
			want += ", driver's ceiling 4"
		}
		if r.names() != want {
			t.Errorf("%q: %s", args, r.names())
		}
		var metrics []string
		for _, v := range r.Ratios {
			metrics = append(metrics, v.Metric)
			if v.Depth != 4 || v.Of != vublkName || v.To != peerName || v.Ratio <= 0 || v.Control <= 0 || v.Low <= 0 || v.Low > v.High || v.Spread < 0 {
				t.Errorf("%+v", v)
			}
		}
		if !slices.Equal(metrics, []string{"iops", "latency_mean", "latency_p99", "cpu_per_io"}) {
			t.Errorf("ratios of %v", metrics)
		}
		for i, b := range r.Backends {
			if i < 3 && (!strings.Contains(b.Command, "taskset -c ") || strings.Contains(b.Command, peerName) != (b.Name == peerName)) {
				t.Errorf("%+v", b)
			}
		}
	}
}

func TestBenchWithoutAPeer(t *testing.T) {
	o, _ := temporary(t)
	o.Env = append(o.Env, "PATH=/nowhere")
	status, _, stderr := clitest.Run(t, o, "bench", "--store=null:1GiB", "--compare")
	if status != 2 || !oneLine(stderr) || !strings.Contains(stderr, "qemu-storage-daemon is not installed") || !strings.Contains(stderr, "apt install qemu-system-common") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// A back-end that does not start says why, and nothing was begun.
func TestBenchOfALockedFile(t *testing.T) {
	o, _ := temporary(t)
	p, file, _ := serveImage(t, clitest.Options{}, 1<<20)
	status, _, stderr := clitest.Run(t, o, "bench", "--store="+file)
	if status != 2 || !oneLine(stderr) || !strings.Contains(stderr, "vublk does not start") || !strings.Contains(stderr, "is locked by") {
		t.Errorf("status %d, %q", status, stderr)
	}
	p.Stop()
}

func TestBenchOfAReadOnlyDisk(t *testing.T) {
	o, _ := temporary(t)
	socket := filepath.Join(t.TempDir(), "vm.sock")
	p := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--store=mem:1M", "--read-only")
	p.Await("listening")
	status, _, stderr := clitest.Run(t, o, "bench", "--socket="+socket, "--rw=randwrite", "--destroy-data")
	if status != 1 || !oneLine(stderr) || !strings.Contains(stderr, "the disk is read-only") {
		t.Errorf("status %d, %q", status, stderr)
	}
	p.Stop()
	// Killed: its socket is left, and nobody listens.
	p = clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--store=mem:1M")
	p.Await("listening")
	p.Signal(syscall.SIGKILL)
	p.Status()
	status, _, stderr = clitest.Run(t, o, "bench", "--socket="+socket)
	if status != 2 || !oneLine(stderr) || !strings.Contains(stderr, "nobody listens there any more") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestBenchTMPDIRTooLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := clitest.Run(t, clitest.Options{Env: []string{"TMPDIR=" + dir}}, "bench", "--store=null:1GiB")
	if status != 2 || !oneLine(stderr) || !strings.Contains(stderr, "TMPDIR="+dir) {
		t.Errorf("status %d, %q", status, stderr)
	}
	checkNothingLeft(t, dir)
}

func TestBenchTableAndPlot(t *testing.T) {
	o, _ := temporary(t)
	o.Dir = t.TempDir()
	for _, name := range []string{"plot.svg", "plot.png"} {
		status, stdout, stderr := clitest.Run(t, o, append([]string{"bench", "--store=null:1GiB", "--depth=1,2", "--plot=" + name}, quick...)...)
		if status != 0 || stderr != "" || !strings.Contains(stdout, "CPU/IO") {
			t.Fatalf("status %d, %q, %q", status, stdout, stderr)
		}
		text, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "plot.png" {
			_, err = png.Decode(bytes.NewReader(text))
		} else if !bytes.Contains(text, []byte("<svg")) || !bytes.Contains(text, []byte("null:1GiB")) || !bytes.Contains(text, []byte(">vublk<")) {
			err = errors.New("not our SVG")
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// On a terminal it says how far it has come; elsewhere TestBenchTableAndPlot has seen that stderr stays empty.
func TestBenchProgress(t *testing.T) {
	o, _ := temporary(t)
	outer, inner := terminal(t)
	o.Stderr = inner
	p := clitest.Start(t, o, append([]string{"bench", "--store=null:1GiB"}, quick...)...)
	if err := inner.Close(); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(outer) // EIO when nobody has the other end any more
	if status := p.Status(); status != 0 || !strings.Contains(string(text), "measuring") || !strings.Contains(string(text), "50%") {
		t.Errorf("status %d, %q", status, text)
	}
}
