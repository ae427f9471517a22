package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/cli/clitest"
)

// blocks is how many bytes of the disk a file takes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		size int64
		full bool
	}{
		{"create sparse.raw 20GiB", 20 << 30, false},
		{"create full.raw 3M --preallocate", 3 << 20, true},
		{"create --force sparse.raw 1536", 1536, false},
		{"create --force full.raw 4M", 4 << 20, false},
	} {
		status, stdout, stderr := clitest.Run(t, clitest.Options{Dir: dir}, strings.Fields(c.args)...)
		if status != 0 || !oneLine(stdout) || stderr != "" {
			t.Fatalf("%s: status %d, %q, %q", c.args, status, stdout, stderr)
		}
		path := filepath.Join(dir, strings.Fields(strings.Replace(c.args, "--force ", "", 1))[1])
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() != c.size || st.Mode().Perm() != 0o600 || (blocks(t, path) >= c.size) != c.full {
			t.Errorf("%s: %d bytes, %v, %d on disk", c.args, st.Size(), st.Mode(), blocks(t, path))
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCreateForceKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	path := image(t, dir, "disk.raw", 512)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.raw")
	if err := os.Symlink("disk.raw", link); err != nil {
		t.Fatal(err)
	}
	i := newImage{path: link, size: 1024, force: true, progress: &lines{w: os.Stderr}}
	if err := i.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 1024 || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "disk.raw" {
		t.Errorf("%q, %v", to, err)
	}
}

// recorder is a progress that can end the work.
type recorder struct {
	total, done int64
	at          int64 // when to call stop
	stop        func()
	ended       int
}

func (r *recorder) begin(total int64) { r.total = total }
func (r *recorder) end()              { r.ended++ }
func (r *recorder) add(n int64) {
	if r.done += n; r.stop != nil && r.done >= r.at {
		r.stop()
	}
}

func TestCreateInterrupted(t *testing.T) {
	for _, when := range []int64{1, 2 * zeroStep} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{stop: cancel, at: when}
		dir := t.TempDir()
		i := newImage{path: filepath.Join(dir, "disk.raw"), size: 4 * zeroStep, preallocate: true, progress: r}
		if err := i.make(ctx); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("stopped at %d: %v", when, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if r.total != i.size || r.ended != 1 {
			t.Errorf("progress %+v", r)
		}
	}
}

// Without fallocate zeroes are written; here the two are compared on a file system that has it.
func TestWriteZeroes(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const size = 2*zeroStep + 512
	r := &recorder{}
	if err := writeZeroes(t.Context(), f, size, r); err != nil || r.done != size {
		t.Fatalf("%v, done %d", err, r.done)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != size || blocks(t, f.Name()) < size {
		t.Fatalf("%v, %v, %d on disk", st, err, blocks(t, f.Name()))
	}
}

// Ctrl-C on the real program, while it waits for a disk that takes its time.
func TestCreateRemovesItsFileOnASignal(t *testing.T) {
	dir := t.TempDir()
	p := clitest.Start(t, clitest.Options{Dir: dir}, "create", "disk.raw", "64MiB", "--preallocate")
	p.Signal(syscall.SIGINT)
	status := p.Status()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	// It may have been quicker, or not have begun to listen for signals.
	complete := status == 0 && len(left) == 1 && left[0].Name() == "disk.raw"
	if !complete && len(left) != 0 {
		t.Errorf("status %d, left behind: %v", status, left)
	}
}

func TestPublishDoesNotReplace(t *testing.T) {
	dir := t.TempDir()
	from, to := image(t, dir, "from", 512), image(t, dir, "to", 1024)
	i := newImage{path: to}
	if err := i.publish(from); !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if st, err := os.Stat(to); err != nil || st.Size() != 1024 {
		t.Fatalf("%v, %v", st, err)
	}
}

func TestProgressLines(t *testing.T) {
	var b strings.Builder
	l := &lines{w: &b}
	l.begin(4 << 20)
	l.add(1 << 20)
	l.add(3 << 20)
	l.end()
	if want := "preallocating: 25% of 4MiB\npreallocating: 100% of 4MiB\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestProgressBar(t *testing.T) {
	for _, what := range []string{"preallocating", "measuring"} {
		var b strings.Builder
		p := &bar{w: &b, what: what, bytes: what == "preallocating"}
		p.begin(4 << 20)
		p.add(1 << 20)
		p.add(3 << 20)
		p.end()
		if !strings.Contains(b.String(), what) || strings.Contains(b.String(), "iB/s") != p.bytes {
			t.Errorf("%q", b.String())
		}
	}
}
