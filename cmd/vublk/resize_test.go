package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// hangUp sends SIGHUP and waits until the process has written text once more.
func hangUp(t *testing.T, p *clitest.Process, text string) {
	t.Helper()
	n := strings.Count(p.Stderr(), text)
	p.Signal(syscall.SIGHUP)
	p.AwaitTimes(text, n+1)
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// guestSize is the size that a front-end reads, in bytes.
func guestSize(t *testing.T, g *clitest.Guest) uint64 {
	t.Helper()
	b, err := g.Config(0, 60)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b) * 512
}

// configChanges counts the messages that are there.
func configChanges(t *testing.T, g *clitest.Guest) (n int) {
	t.Helper()
	if _, err := g.GetU64(vhostuser.RequestGetFeatures); err != nil { // what follows an answer is there after the next
		t.Fatal(err)
	}
	for ; ; n++ {
		if _, ok, err := g.BackendMessage(0); err != nil || !ok {
			return n
		}
	}
}

// SIGHUP looks at the sizes of all exports, while they serve.
func TestHangUpGrowsDisks(t *testing.T) {
	dir := t.TempDir()
	a, b := image(t, dir, "a.raw", 1<<20), image(t, dir, "b.raw", 1<<20)
	p := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--log-level=debug", "--logical-block-size=4096",
		"--export=socket-path=a.sock,blk-file=a.raw", "--export=socket-path=b.sock,blk-file=b.raw,read-only", "--export=socket-path=c.sock,store=mem:1M")
	for _, name := range []string{"a", "b", "c"} {
		p.Await("msg=listening export=" + name)
	}
	guests := []*clitest.Guest{
		clitest.Attach(t, filepath.Join(dir, "a.sock"), vhostusertest.Options{}),
		clitest.Attach(t, filepath.Join(dir, "b.sock"), vhostusertest.Options{}),
	}
	for _, g := range guests {
		if n := configChanges(t, g); n != 1 { // it has not read
			t.Errorf("%d CONFIG_CHANGE at the start", n)
		}
	}
	hangUp(t, p, `level=DEBUG msg="its size is not looked at" export=c reason="a store keeps the size that it was given"`)
	for _, name := range []string{"a", "b"} {
		if n := strings.Count(p.Stderr(), `level=INFO msg="the disk has the size it had" export=`+name+" size=1MiB"); n != 1 {
			t.Errorf("%d lines about %s:\n%s", n, name, p.Stderr())
		}
	}

	truncate(t, a, 2<<20)
	truncate(t, b, 3<<20)
	hangUp(t, p, `level=INFO msg="the disk has grown" export=b old=1MiB new=3MiB`)
	p.Await(`level=INFO msg="the disk has grown" export=a old=1MiB new=2MiB`)
	for i, want := range []uint64{2 << 20, 3 << 20} {
		if n := configChanges(t, guests[i]); n != 1 || guestSize(t, guests[i]) != want {
			t.Errorf("disk %d: %d CONFIG_CHANGE, size %d, want %d", i, n, guestSize(t, guests[i]), want)
		}
	}
	data := pattern(8192, 5)
	if status := guests[0].Do(0, clitest.Out, 2<<11-16, data); status != clitest.StatusOK {
		t.Errorf("write to the new end: status %d", status)
	}
	if status := guests[1].Do(0, clitest.In, 3<<11-16, make([]byte, 8192)); status != clitest.StatusOK {
		t.Errorf("read at the new end: status %d", status)
	}

	truncate(t, a, 2<<20+512)
	truncate(t, b, 1<<20)
	hangUp(t, p, `msg="the disk's new size is refused" export=b old=3MiB new=1MiB error="b.raw has 1048576 bytes now, the guest knows 3145728`)
	p.Await(`msg="the disk's new size is refused" export=a old=2MiB new=2097664B error="a.raw has 2097664 bytes now, which is not a whole number of blocks of 4096 bytes: grow it to 2101248 bytes`)
	for i, want := range []uint64{2 << 20, 3 << 20} {
		if n := configChanges(t, guests[i]); n != 0 || guestSize(t, guests[i]) != want {
			t.Errorf("disk %d, refused: %d CONFIG_CHANGE, size %d, want %d", i, n, guestSize(t, guests[i]), want)
		}
	}
	p.Stop()
	if content, err := os.ReadFile(a); err != nil || !bytes.Equal(content[2<<20-8192:2<<20], data) {
		t.Errorf("the file's new area has other content (%v)", err)
	}
}

func TestHangUpShrinksWhereItMay(t *testing.T) {
	p, file, socket := serveImage(t, clitest.Options{}, 2<<20, "--allow-shrink")
	g := clitest.Attach(t, socket, vhostusertest.Options{})
	truncate(t, file, 1<<20)
	hangUp(t, p, `level=WARN msg="the disk has become smaller: requests beyond its end fail" export=vm old=2MiB new=1MiB`)
	if size := guestSize(t, g); size != 1<<20 {
		t.Errorf("size %d", size)
	}
	if status := g.Do(0, clitest.Out, 1<<11, pattern(512, 1)); status != clitest.StatusIOErr {
		t.Errorf("write beyond the end: status %d", status)
	}
	p.Stop()
	if fi, err := os.Stat(file); err != nil || fi.Size() != 1<<20 {
		t.Errorf("the file has grown again (%v)", err)
	}
}

// While the image is waited for there is no size to look at; the signal is kept until there is.
func TestHangUpBeforeItServes(t *testing.T) {
	dir := t.TempDir()
	file := image(t, dir, "disk.raw", 1<<20)
	holder := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--socket-path=holder.sock", "--blk-file="+file)
	holder.Await("listening")
	p := clitest.Start(t, clitest.Options{Dir: dir}, "serve", "--socket-path=vm.sock", "--blk-file="+file)
	p.Await("waiting for the image's lock")
	p.Signal(syscall.SIGHUP)
	truncate(t, file, 2<<20)
	holder.Stop()
	p.Await("size=2MiB mode=")
	p.Await(`msg="the disk has the size it had" export=vm size=2MiB`)
	p.Stop()
}
