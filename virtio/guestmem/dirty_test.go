package guestmem

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/sys"
)

// logFile is a file of size bytes for a log.
func logFile(t testing.TB, size int64) *sys.FD {
	t.Helper()
	fd, err := sys.Memfd("log", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	return fd
}

// logBytes reads the whole file, what lies around the log included.
func logBytes(t testing.TB, fd *sys.FD, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if n, err := unix.Pread(fd.Int(), b, 0); err != nil || n != size {
		t.Fatal(n, err)
	}
	return b
}

// TestMarkedPages compares with the definition, bit for bit, at every kind of offset; bytes around the log stay zero.
func TestMarkedPages(t *testing.T) {
	const fileSize = 3 * page
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, offset := range []uint64{0, 1, 2, 3, 5, 4095, 4096, 4101} {
		for _, size := range []uint64{1, 2, 3, 4, 7, 33, 4096} {
			t.Run(fmt.Sprintf("offset=%d/size=%d", offset, size), func(t *testing.T) {
				fd := logFile(t, fileSize)
				l, err := MapLog(fd.Int(), offset, size)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				want := make([]byte, fileSize)
				for range 200 {
					gpa, n := rnd.Uint64N(size*8*page+2*page), rnd.Uint64N(1<<(1+rnd.IntN(20)))
					clear(want)
					for at := gpa; n > 0 && at <= gpa+n-1; at = at&^(page-1) + page {
						if p := at / page; p/8 < size {
							want[offset+p/8] |= 1 << (p % 8)
						}
					}
					l.Mark(GPA(gpa), n)
					if got := logBytes(t, fd, fileSize); !bytes.Equal(got, want) {
						t.Fatalf("Mark(%#x, %d): wrong pages", gpa, n)
					}
					if _, err := unix.Pwrite(fd.Int(), make([]byte, fileSize), 0); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func TestMarkAtTheEndOfTheAddressSpace(t *testing.T) {
	fd := logFile(t, page)
	l, err := MapLog(fd.Int(), 0, page)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ gpa, n uint64 }{
		{1<<64 - 1, 1}, {1<<64 - 1, 1<<64 - 1}, {1<<64 - page, 2 * page}, {8 * page * page, 1}, {0, 0}, {1<<64 - 1, 0},
	} {
		l.Mark(GPA(c.gpa), c.n)
	}
	if !bytes.Equal(logBytes(t, fd, page), make([]byte, page)) {
		t.Fatal("marked what it has no bits for")
	}
	l.Mark(8*page*page-1, 1<<64-1) // its last page, and everything behind
	if got := logBytes(t, fd, page); got[page-1] != 0x80 {
		t.Fatalf("last byte %#x", got[page-1])
	}
}

func TestMarkKeepsWhatIsThere(t *testing.T) {
	fd := logFile(t, page)
	l, err := MapLog(fd.Int(), 0, page)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	for g := range GPA(4) { // each its own bits of the same words
		go func() {
			for p := range GPA(2 * page) {
				l.Mark((4*p+g)*page, 1)
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	if got := logBytes(t, fd, page); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, page)) {
		t.Fatal("bits were lost")
	}
}

func TestMapLogRefuses(t *testing.T) {
	fd := logFile(t, page).Int()
	for _, c := range []struct {
		name         string
		fd           int
		offset, size uint64
	}{
		{"no bytes", fd, 0, 0},
		{"more than the file", fd, 0, page + 1},
		{"offset behind the file", fd, page, 1},
		{"sum behind the file", fd, page - 1, 2},
		{"sum that wraps", fd, 1<<64 - 1, 2},
		{"size that wraps", fd, 2, 1<<64 - 1},
		{"offset like a negative one", fd, 1 << 63, 1},
		{"size of no address space", fd, 0, maxLogSize + 1},
		{"a pipe", pipeEnd(t), 0, 1},
		{"no descriptor", -1, 0, 1},
	} {
		if l, err := MapLog(c.fd, c.offset, c.size); err == nil {
			l.Close()
			t.Errorf("%s: mapped", c.name)
		}
	}
}

func TestTruncatedLogIsAFaultError(t *testing.T) {
	fd := logFile(t, 2*page)
	l, err := MapLog(fd.Int(), 0, 2*page)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := unix.Ftruncate(fd.Int(), page); err != nil {
		t.Fatal(err)
	}
	var fault *FaultError
	if err := guarded(func() { l.Mark(8*page*page, 1) }); !errors.As(err, &fault) {
		t.Fatalf("err = %v; want a FaultError", err)
	}
	if err := guarded(func() { l.Mark(0, 1) }); err != nil {
		t.Fatalf("the part that is there: %v", err)
	}
	l.Close()
	l.Close()
	(*DirtyLog)(nil).Close()
}

func TestMarkDoesNotAllocate(t *testing.T) {
	l, err := MapLog(logFile(t, page).Int(), 0, page)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := testing.AllocsPerRun(100, func() { l.Mark(5*page, 100*page) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
