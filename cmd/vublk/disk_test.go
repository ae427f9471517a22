package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// pattern is n bytes that are different for each seed and in each sector.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*31 + byte(i>>9) + seed
	}
	return b
}

func TestGuestDataReachesTheFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		packed bool
	}{
		{"writeback", []string{"--cache=writeback"}, false},
		{"writethrough", []string{"--cache=writethrough"}, true},
		{"buffered", []string{"--direct=off", "--workers=1", "--poll=off"}, false},
		{"4K blocks", []string{"--logical-block-size=4096", "--num-queues=2"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const size = 8 << 20
			p, file, socket := serveImage(t, clitest.Options{}, size, c.args...)
			g := clitest.Attach(t, socket, vhostusertest.Options{Queues: 2, Packed: c.packed})
			want := make([]byte, size)
			for i := range 8 {
				part := pattern(clitest.Room, byte(i))
				if status := g.Do(i%2, clitest.Out, uint64(i)*clitest.Room/512, part); status != clitest.StatusOK {
					t.Fatalf("write %d: status %d", i, status)
				}
				copy(want[i*clitest.Room:], part)
			}
			got := make([]byte, clitest.Room)
			for i := range 8 {
				if status := g.Do((i+1)%2, clitest.In, uint64(i)*clitest.Room/512, got); status != clitest.StatusOK ||
					!bytes.Equal(got, want[i*clitest.Room:(i+1)*clitest.Room]) {
					t.Fatalf("read %d: status %d, equal %v", i, status, bytes.Equal(got, want[i*clitest.Room:(i+1)*clitest.Room]))
				}
			}
			if status := g.Do(0, clitest.Flush, 0, nil); c.name != "writethrough" && status != clitest.StatusOK {
				t.Fatalf("flush: status %d", status)
			}
			if status := g.Do(0, clitest.In, size/512, make([]byte, 4096)); status != clitest.StatusIOErr {
				t.Fatalf("read past the end: status %d", status)
			}
			p.Stop()
			if content, err := os.ReadFile(file); err != nil || !bytes.Equal(content, want) {
				t.Fatalf("the file's content differs (%v)", err)
			}
		})
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "vm.sock")
	want := pattern(1<<20, 7)
	if err := os.WriteFile(file, want, 0o400); err != nil {
		t.Fatal(err)
	}
	p := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+socket, "--blk-file="+file, "--read-only")
	p.Await("mode=read-only")
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, 0, make([]byte, 512)); status != clitest.StatusIOErr {
		t.Errorf("write: status %d", status)
	}
	got := make([]byte, 4096)
	if status := g.Do(0, clitest.In, 8, got); status != clitest.StatusOK || !bytes.Equal(got, want[4096:8192]) {
		t.Errorf("read: status %d", status)
	}
	p.Stop()
	if content, err := os.ReadFile(file); err != nil || !bytes.Equal(content, want) {
		t.Errorf("the file has changed (%v)", err)
	}
}

// One front-end after the other; between them, and only then, the image is free for others.
func TestFrontEndsComeAndGo(t *testing.T) {
	p, file, socket := serveImage(t, clitest.Options{}, 1<<20, "--lock-timeout=0")
	other := []string{"serve", "--socket-path=" + filepath.Join(t.TempDir(), "other.sock"), "--blk-file=" + file, "--lock-timeout=0"}
	for i := range 3 {
		g := clitest.Attach(t, socket, vhostusertest.Options{})
		if status := g.Do(0, clitest.Out, uint64(i), pattern(512, byte(i))); status != clitest.StatusOK {
			t.Fatalf("write: status %d", status)
		}
		if status, _, stderr := clitest.Run(t, clitest.Options{}, other...); status != 2 || !strings.Contains(stderr, "is locked by") {
			t.Fatalf("the image was free while it was used: status %d, %s", status, stderr)
		}
		if err := g.Disconnect(); err != nil {
			t.Fatal(err)
		}
		p.AwaitTimes("front-end has gone", i+1)
		between := clitest.Start(t, clitest.Options{}, other...)
		between.Await("listening")
		between.Stop()
	}
	p.Stop()
}

// A migration: the destination listens while the source has the image, starts its ring held, and serves once the
// source has let go.
func TestIncomingWaitsForTheImage(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 1<<20)
	a, b := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")
	source := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+a, "--blk-file="+file)
	source.Await("listening")
	g := clitest.Attach(t, a, vhostusertest.Options{})
	want := pattern(4096, 3)
	if status := g.Do(0, clitest.Out, 0, want); status != clitest.StatusOK {
		t.Fatalf("write at the source: status %d", status)
	}
	destination := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+b, "--blk-file="+file, "--incoming")
	destination.Await("listening")
	h := clitest.Attach(t, b, vhostusertest.Options{}) // its ring start is acknowledged at once
	got := make([]byte, 4096)
	h.Submit(0, clitest.In, 0, got)
	destination.Await("waiting for the image's lock")
	h.WantPending(0, 300*time.Millisecond, "served while the source has the image")
	source.Stop()
	if status, ok := h.Done(0, clitest.Patience); !ok || status != clitest.StatusOK {
		t.Fatalf("not served after the source let go: %v, status %d\n%s", ok, status, destination.Stderr())
	}
	if status := h.Do(0, clitest.In, 0, got); status != clitest.StatusOK || !bytes.Equal(got, want) {
		t.Fatalf("read at the destination: status %d", status)
	}
	destination.Stop()
}

// The destination whose source never lets go ends that session, and says who has the image.
func TestIncomingGivesUp(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 1<<20)
	source := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+filepath.Join(dir, "a"), "--blk-file="+file)
	source.Await("listening")
	b := filepath.Join(dir, "b")
	destination := clitest.Start(t, clitest.Options{}, "serve", "--socket-path="+b, "--blk-file="+file, "--incoming", "--lock-timeout=3s")
	destination.Await("listening")
	clitest.Attach(t, b, vhostusertest.Options{})
	destination.Await("is locked by")
	if !strings.Contains(destination.Stderr(), "pid "+itoa(source.PID())) {
		t.Error(destination.Stderr())
	}
	destination.Stop()
	source.Stop()
}

// SIGTERM in the middle of I/O loses nothing that was completed.
func TestStopUnderLoad(t *testing.T) {
	p, file, socket := serveImage(t, clitest.Options{}, 1<<20)
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	last := -1
	for i := 0; ; i++ {
		if i == 50 {
			p.Signal(syscall.SIGTERM)
		}
		g.Submit(0, clitest.Out, uint64(i%256), pattern(512, byte(i)))
		patience := clitest.Patience
		if i >= 50 {
			patience = 500 * time.Millisecond
		}
		if _, ok := g.Done(0, patience); !ok {
			break
		}
		last = i
	}
	if status := p.Status(); status != 0 || last < 49 {
		t.Fatalf("status %d after %d writes:\n%s", status, last+1, p.Stderr())
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := max(0, last-200); i <= last; i++ {
		at := i % 256 * 512
		if !bytes.Equal(content[at:at+512], pattern(512, byte(i))) {
			t.Errorf("completed write %d of %d is not in the file", i, last)
		}
	}
}
