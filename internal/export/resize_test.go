package export

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

const mib = 1 << 20

// capacity is what a driver would read, in bytes.
func capacity(e *Export) int64 {
	var b [8]byte
	e.parts.device.ReadConfig(b[:], 0)
	return int64(binary.LittleEndian.Uint64(b[:])) * blk.SectorSize
}

// served is an export of an image, and a guest that is attached to it.
type served struct {
	*Export
	t            *testing.T
	file, socket string
	guest        *clitest.Guest
}

// serveImage serves an image of 1 MiB to a guest that has read its size, as every guest does when it boots.
func serveImage(t *testing.T, options string) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{t: t, file: filepath.Join(dir, "disk.raw"), socket: filepath.Join(dir, "s")}
	if err := os.WriteFile(s.file, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Export = start(t, newRegistry(t), "socket-path="+s.socket+",blk-file="+s.file+options)
	s.guest = clitest.Attach(t, s.socket, vhostusertest.Options{})
	s.told(1) // it has not read
	s.sees(mib)
	return s
}

// truncate changes the size of the image and has the export look.
func (s *served) truncate(size int64, force bool) (Resized, error) {
	s.t.Helper()
	if err := os.Truncate(s.file, size); err != nil {
		s.t.Fatal(err)
	}
	return s.Resize(force)
}

// told demands so many CONFIG_CHANGE since the last call. They are sent before Resize returns, or after the answer to
// the message that starts a ring: asking for anything makes sure of those.
func (s *served) told(want int) {
	s.t.Helper()
	if _, err := s.guest.GetU64(vhostuser.RequestGetFeatures); err != nil {
		s.t.Fatal(err)
	}
	for n := 0; ; n++ {
		_, ok, err := s.guest.BackendMessage(0)
		switch {
		case err != nil:
			s.t.Fatal(err)
		case !ok && n != want:
			s.t.Fatalf("%d CONFIG_CHANGE, want %d", n, want)
		case !ok:
			return
		}
	}
}

// sees demands the size that the front-end reads, and that the guest can write and read up to it and no further.
func (s *served) sees(size int64) {
	s.t.Helper()
	b, err := s.guest.Config(0, 60)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := int64(binary.LittleEndian.Uint64(b)) * blk.SectorSize; got != size {
		s.t.Fatalf("the front-end reads a size of %d bytes, want %d", got, size)
	}
	end := uint64(size / blk.SectorSize)
	want, got := bytes.Repeat([]byte{byte(end >> 3)}, 4096), make([]byte, 4096)
	if status := s.guest.Do(0, clitest.Out, end-8, want); status != clitest.StatusOK {
		s.t.Fatalf("write to the end: status %d", status)
	}
	if status := s.guest.Do(0, clitest.In, end-8, got); status != clitest.StatusOK || !bytes.Equal(got, want) {
		s.t.Fatalf("read at the end: status %d", status)
	}
	if status := s.guest.Do(0, clitest.Out, end, want); status != clitest.StatusIOErr {
		s.t.Fatalf("write behind the end: status %d", status)
	}
}

func TestResizeWhileItRuns(t *testing.T) {
	s := serveImage(t, "")
	if r, err := s.Resize(false); err != nil || r.Changed() || r.New != mib {
		t.Fatalf("nothing has changed: %+v, %v", r, err)
	}
	s.told(0)
	if r, err := s.truncate(2*mib, false); err != nil || r != (Resized{Old: mib, New: 2 * mib}) {
		t.Fatalf("grown: %+v, %v", r, err)
	}
	s.told(1)
	s.sees(2 * mib)
	if r, err := s.truncate(3*mib+100, false); err == nil || r != (Resized{Old: 2 * mib, New: 3*mib + 100}) {
		t.Fatalf("odd: %+v, %v", r, err)
	}
	s.told(0)
	s.sees(2 * mib)
}

func TestResizeWhileRingsAreStopped(t *testing.T) {
	s := serveImage(t, "")
	if err := s.guest.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(3) {
		if _, err := s.truncate((i+2)*mib, false); err != nil {
			t.Fatal(err)
		}
	}
	s.told(0)
	if err := s.guest.Start(); err != nil {
		t.Fatal(err)
	}
	s.told(1)
	s.sees(4 * mib)
}

// A front-end that comes back does not read the size again.
func TestResizeWhileNobodyIsThere(t *testing.T) {
	s := serveImage(t, "")
	for i := range int64(2) {
		s.reconnect(false, func() {
			if _, err := s.truncate((i+2)*mib, false); err != nil {
				t.Fatal(err)
			}
		})
		s.told(1)
		s.sees((i + 2) * mib)
	}
}

// reconnect has the front-end go, and come back with its rings as they were; it may read the size before they start.
func (s *served) reconnect(read bool, meanwhile func()) {
	s.t.Helper()
	if err := s.guest.Stop(); err != nil { // only to know the base
		s.t.Fatal(err)
	}
	if err := s.guest.Disconnect(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, s.Export, Listening)
	meanwhile()
	c, err := vhostusertest.Dial(s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.guest.Reconnect(c); err != nil {
		s.t.Fatal(err)
	}
	if read {
		if _, err := s.guest.Config(0, 60); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.guest.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// Between two front-ends the image is free: whoever has it then may make it grow. It is seen when the lock is taken again,
// after the rings have started.
func TestResizeByAnotherOwner(t *testing.T) {
	s := serveImage(t, "")
	s.reconnect(true, func() {
		other, err := blk.OpenFile(t.Context(), s.file, blk.FileOptions{Identity: "other"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		if err := os.Truncate(s.file, 2*mib); err != nil {
			t.Fatal(err)
		}
	})
	if status := s.guest.Do(0, clitest.In, mib/512, make([]byte, 512)); status != clitest.StatusOK { // after the lock
		t.Fatalf("read in the new area: status %d", status)
	}
	s.sees(2 * mib)
	s.told(1)
}

func TestShrinking(t *testing.T) {
	for options, force := range map[string]bool{"": true, ",allow-shrink": false} {
		s := serveImage(t, options)
		if options == "" {
			if r, err := s.truncate(mib/2, false); err == nil || !strings.Contains(err.Error(), "the guest knows 1048576") || r.New != mib/2 {
				t.Fatalf("%+v, %v", r, err)
			}
			s.told(0)
			if got := capacity(s.Export); got != mib {
				t.Fatalf("refused, and the device has %d bytes", got)
			}
		}
		if r, err := s.truncate(mib/2, force); err != nil || r != (Resized{Old: mib, New: mib / 2}) {
			t.Fatalf("%+v, %v", r, err)
		}
		s.told(1)
		s.sees(mib / 2)
		if fi, err := os.Stat(s.file); err != nil || fi.Size() != mib/2 {
			t.Errorf("the guest made the file grow again: %v", err)
		}
	}
}

func TestResizeOfAnotherImage(t *testing.T) {
	s := serveImage(t, "")
	if err := os.WriteFile(s.file+".new", make([]byte, 2*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Resize(true); err == nil || !strings.Contains(err.Error(), "another has taken its place") || r.Changed() {
		t.Errorf("%+v, %v", r, err)
	}
	s.told(0)
	s.sees(mib)
}

func TestResizeWithoutASize(t *testing.T) {
	r := newRegistry(t)
	dir := t.TempDir()
	for _, store := range []string{"null", "mem"} {
		e := start(t, r, "store="+store+":1M,socket-path="+filepath.Join(dir, store))
		if got, err := e.Resize(true); !errors.Is(err, ErrFixedSize) || got != (Resized{Old: mib, New: mib}) {
			t.Errorf("%s: %+v, %v", store, got, err)
		}
	}
	e, err := r.Create(define(t, "blk-file="+newImage(t, mib)+",socket-path="+filepath.Join(dir, "s")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Resize(false); !errors.Is(err, ErrNotServing) {
		t.Errorf("not started: %v", err)
	}
	e.Start()
	<-e.Ready()
	looks := make(chan error, 1)
	go func() { // up to the end of the export and beyond
		for {
			if _, err := e.Resize(false); err != nil {
				looks <- err
				return
			}
		}
	}()
	if err := r.Remove("s"); err != nil {
		t.Fatal(err)
	}
	if err := <-looks; !errors.Is(err, ErrNotServing) {
		t.Errorf("closed: %v", err)
	}
	gone, err := r.Create(define(t, "blk-file=/none,socket-path="+filepath.Join(dir, "s")))
	if err != nil {
		t.Fatal(err)
	}
	gone.Start()
	<-gone.Ready()
	if _, err := gone.Resize(false); !errors.Is(err, ErrNotServing) {
		t.Errorf("could not begin: %v", err)
	}
}
