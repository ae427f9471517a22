package blk_test

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/sys"
	"github.com/vublk/vublk/virtio/guestmem"
	"github.com/vublk/vublk/virtio/virtiotest"
)

// memoryFile opens an image of size bytes that is nothing but memory: a memfd lives on the kernel's own tmpfs.
func memoryFile(t *testing.T, size int64) (*sys.FD, *blk.FileDisk) {
	t.Helper()
	fd, err := sys.Memfd("image", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	return fd, openFile(t, fmt.Sprintf("/proc/self/fd/%d", fd.Int()), blk.FileOptions{})
}

func TestImageInMemory(t *testing.T) {
	fd, disk := memoryFile(t, 4*mib)
	if !disk.Info().InMemory {
		t.Fatal("a file in memory is not known as one")
	}
	r := newRig(t, disk, rigOptions{})
	for _, n := range []int{512, 4096, blk.PromptMax, blk.PromptMax + 512, mib} {
		want := bytes.Repeat([]byte(fmt.Sprintf("%-8d", n)), n/8)
		r.write(0, 3, want)
		got := make([]byte, n)
		if _, err := unix.Pread(fd.Int(), got, 3*512); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: the file has other content (%v)", n, err)
		}
		if !bytes.Equal(r.read(0, 3, n), want) {
			t.Errorf("%d bytes read back differ", n)
		}
	}
	if s := r.dev.Stats().Total; s.Errors() != 0 || s.Read.Requests != 5 || s.Write.Requests != 5 {
		t.Errorf("stats %+v", s)
	}
}

// TestImageInMemoryFails: what the kernel refuses reaches the driver, whichever way the request went.
func TestImageInMemoryFails(t *testing.T) {
	fd, disk := memoryFile(t, mib)
	r := newRig(t, disk, rigOptions{})
	r.write(0, 0, make([]byte, 4096))
	if err := unix.Ftruncate(fd.Int(), 4096); err != nil {
		t.Fatal(err)
	}
	if a := r.request(0, blk.RequestIn, 8, nil, 4096); a.status != 1 {
		t.Errorf("a read behind the end of the truncated file: status %d, want IOERR", a.status)
	}
	if _, err := unix.FcntlInt(uintptr(fd.Int()), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	if a := r.request(0, blk.RequestOut, 0, make([]byte, 4096), 0); a.status != 1 {
		t.Errorf("a write to a sealed file: status %d, want IOERR", a.status)
	}
	if got := r.read(0, 0, 4096); !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("what is there cannot be read any more")
	}
}

// TestImageInMemorySpansIovecs: a request whose memory is in many pieces.
func TestImageInMemorySpansIovecs(t *testing.T) {
	_, disk := memoryFile(t, mib)
	r := newRig(t, disk, rigOptions{})
	want := bytes.Repeat([]byte("0123456789abcdef"), 8192/16)
	r.write(0, 0, want)
	r.readPieces(0, 0, 8192, 512)
	if got := r.mem.Bytes(r.data, 8192); !bytes.Equal(got, want) {
		t.Error("content differs")
	}
}

// readPieces reads n bytes into buffers of size bytes each, which lie side by side.
func (r *rig) readPieces(q int, sector uint64, n, size uint32) {
	r.t.Helper()
	r.mem.Write(r.header, header(blk.RequestIn, sector))
	req := virtiotest.Request{Readable: []virtiotest.Area{{GPA: r.header, Len: 16}}, Indirect: true}
	for at := uint32(0); at < n; at += size {
		req.Writable = append(req.Writable, virtiotest.Area{GPA: r.data + guestmem.GPA(at), Len: size})
	}
	req.Writable = append(req.Writable, virtiotest.Area{GPA: r.status, Len: 1})
	if used := r.roundTrip(q, req); used != n+1 || r.mem.Bytes(r.status, 1)[0] != 0 {
		r.t.Fatalf("used %d, status %d", used, r.mem.Bytes(r.status, 1)[0])
	}
}
