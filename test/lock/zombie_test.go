package lock

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// hangTime is how long a request must not end to count as held back.
const hangTime = 500 * time.Millisecond

// killed starts a vublk on a slow disk, has it do one request that the disk holds back, and kills it. What is left is
// the request.
func killed(t *testing.T, i slowImage, b *brake, kind uint32, data []byte, options ...string) (socket string, g *clitest.Guest) {
	t.Helper()
	p, socket := serving(t, i.path, options...)
	t.Cleanup(b.release) // before p is waited for
	b.take(p)
	g = attach(t, socket)
	expect(t, "before", read(t, g, 0, len(data)), pattern('0', len(data)))
	b.pull()
	g.Submit(0, kind, 0, data)
	g.WantPending(0, hangTime, "the request was not held back")
	p.signalKill()
	p.awaitDeath()
	return socket, g
}

// succeed starts the successor and demands that it waits, for as long as we look and longer.
func succeed(t *testing.T, i slowImage, b *brake, socket string, options ...string) *process {
	t.Helper()
	next := start(t, serve(socket, i.path, append(options, lockTimeout)...)...)
	t.Cleanup(b.release)
	next.await("waiting for the image's lock")
	if !i.block && !nobody(next.Log()) {
		t.Errorf("it does not say that nobody is left to wait for:\n%s", next.Log())
	}
	silent(t, socket)
	return next
}

// TestZombieWrite: the write of a vublk that was killed lands before its successor serves, not on top of what that one
// writes.
func TestZombieWrite(t *testing.T) {
	for _, c := range slowImages {
		t.Run(c.name, func(t *testing.T) {
			i := c.make(t)
			b := newBrake(t, i.device)
			const size = 64 << 10
			socket, _ := killed(t, i, b, clitest.Out, pattern('Z', size))
			next := succeed(t, i, b, socket)
			if status, out := run(t, serve(filepath.Join(t.TempDir(), "s"), i.path, "--lock-timeout=0")...); status != 2 || !strings.Contains(out, "is locked by") {
				t.Errorf("a third vublk: status %d\n%s", status, out)
			}
			if err := refused(t, writeLock, writers[2].argv(t, i.path)); err != nil {
				t.Errorf("qemu-io: %v", err)
			}
			expect(t, "while the write is held back", i.bytes(t, size), pattern('0', size))

			b.release()
			next.await("msg=listening")
			expect(t, "when the successor serves", i.bytes(t, size), pattern('Z', size))
			g := attach(t, socket)
			write(t, g, 0, pattern('N', size))
			next.end()
			expect(t, "after it", i.bytes(t, size), pattern('N', size))
		})
	}
}

// TestZombieRead: the read of a killed vublk scribbles over the guest's memory later. Its successor waits for that,
// although two that read do not exclude each other; another export, with another guest, does not.
func TestZombieRead(t *testing.T) {
	for _, c := range slowImages {
		t.Run(c.name, func(t *testing.T) {
			i := c.make(t)
			b := newBrake(t, i.device)
			mark := pattern('M', 64<<10)
			socket, g := killed(t, i, b, clitest.In, mark, "--read-only")
			buffer := find(t, g, mark)
			next := succeed(t, i, b, socket, "--read-only")
			other, at := serving(t, i.path, "--read-only")
			t.Cleanup(b.release)
			expect(t, "through another export", read(t, attach(t, at), 0, 4096), pattern('0', 4096))
			other.end()
			expect(t, "the guest's memory while the read is held back", buffer, mark)

			b.release()
			next.await("msg=listening")
			expect(t, "the guest's memory when the successor serves", buffer, pattern('0', len(mark)))
			next.end()
		})
	}
}

// find returns the guest's memory that holds mark.
func find(t *testing.T, g *clitest.Guest, mark []byte) []byte {
	t.Helper()
	for _, r := range g.Memory().Regions() {
		all := g.Memory().Bytes(r.GPA, r.Size)
		if at := bytes.Index(all, mark); at >= 0 {
			return all[at : at+len(mark)]
		}
	}
	t.Fatal("the buffer is nowhere in the guest's memory")
	return nil
}

// TestDyingProcess: a process that was killed while a write hangs inside the kernel cannot end; nobody serves before it
// has.
func TestDyingProcess(t *testing.T) {
	dir, path, _ := fileSystem(t)
	file := content(t, filepath.Join(path, "disk.raw"))
	i := slowImage{image: image{path: file, back: file}}
	p, socket := serving(t, i.path)
	g := attach(t, socket)
	write(t, g, 0, pattern('1', 4096))
	thaw := freeze(t, dir)
	g.Submit(0, clitest.Out, 0, pattern('Z', 4096))
	g.WantPending(0, hangTime, "the frozen file system takes writes")
	p.signalKill()
	next := start(t, serve(socket, i.path, lockTimeout)...)
	t.Cleanup(thaw) // before the processes are waited for
	next.await("waiting for the image's lock")
	if !nobody(next.Log()) {
		t.Errorf("it does not say what it waits for:\n%s", next.Log())
	}
	if strings.Contains(next.Log(), "msg=listening") { // the dead one's socket still takes connections
		t.Error("it listens before it has the image")
	}
	expect(t, "while frozen", i.bytes(t, 4096), pattern('1', 4096))
	thaw()
	p.awaitDeath()
	next.await("msg=listening")
	expect(t, "when the successor serves", i.bytes(t, 4096), pattern('Z', 4096))
	h := clitest.Attach(t, socket, vhostusertest.Options{})
	write(t, h, 0, pattern('N', 4096))
	next.end()
	expect(t, "after it", i.bytes(t, 4096), pattern('N', 4096))
}
