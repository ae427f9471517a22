package vublk_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/vublk/vublk"
	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/vhostuser"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

const mib = 1 << 20

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// background runs serve and waits until there is a socket at path. end tells it to stop and returns what it said.
func background(t *testing.T, path string, serve func(context.Context) error) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said := make(chan error, 1)
	go func() { said <- serve(ctx) }()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if listens(t, path) {
			break
		}
		if time.Now().After(deadline) {
			cancel()
			t.Fatalf("nothing listens: %v", <-said)
		}
	}
	return func() error {
		cancel()
		return <-said
	}
}

// listens tells whether somebody listens at path, without being a client: the socket's file is there a moment before.
func listens(t *testing.T, path string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		// Num: RefCount Protocol Flags Type St Inode Path; of the flags __SO_ACCEPTCON
		if f := strings.Fields(line); len(f) == 8 && f[7] == path && f[3] == "00010000" {
			return true
		}
	}
	return false
}

// pattern is what a guest writes.
func pattern(b byte) []byte { return bytes.Repeat([]byte{b, b + 1}, 2048) }

// writeAndRead has a guest at path write 4 KiB and read them back.
func writeAndRead(t *testing.T, path string, sector uint64, b byte) *clitest.Guest {
	t.Helper()
	g := clitest.Attach(t, path, vhostusertest.Options{})
	if status := g.Do(0, clitest.Out, sector, pattern(b)); status != clitest.StatusOK {
		t.Fatalf("write: status %d", status)
	}
	got := make([]byte, 4096)
	if status := g.Do(0, clitest.In, sector, got); status != clitest.StatusOK || !bytes.Equal(got, pattern(b)) {
		t.Fatalf("read: status %d, or other data", status)
	}
	return g
}

func TestListenAndServe(t *testing.T) {
	path, disk := filepath.Join(t.TempDir(), "vm.sock"), newGoDisk()
	end := background(t, path, func(ctx context.Context) error {
		return vublk.ListenAndServe(ctx, path, disk, vublk.Options{})
	})
	writeAndRead(t, path, 8, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk.data[4096:8192], pattern(1)) || disk.flushes == 0 || disk.closed != 0 {
		t.Fatalf("flushed %d times, closed %d times; or other data", disk.flushes, disk.closed)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the socket's name stayed")
	}
}

func TestServeOnAListener(t *testing.T) {
	path, disk := filepath.Join(t.TempDir(), "vm.sock"), newGoDisk()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	end := background(t, path, func(ctx context.Context) error {
		return vublk.Serve(ctx, l, disk, vublk.Options{})
	})
	writeAndRead(t, path, 0, 2)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("the listener is open: %v", err)
	}
}

// TestFlushThatFailsIsReported: the end is the last chance to say that writes are lost.
func TestFlushThatFailsIsReported(t *testing.T) {
	path, disk := filepath.Join(t.TempDir(), "vm.sock"), newGoDisk()
	end := background(t, path, func(ctx context.Context) error {
		return vublk.ListenAndServe(ctx, path, disk, vublk.Options{})
	})
	g := writeAndRead(t, path, 0, 3)
	disk.failFlushes(errors.New("the network is down"))
	if status := g.Do(0, clitest.Flush, 0, nil); status != clitest.StatusIOErr {
		t.Fatalf("flush: status %d", status)
	}
	if err := end(); err == nil || !strings.Contains(err.Error(), "stable storage") {
		t.Fatalf("error %v does not say so", err)
	}
}

func newServer(t *testing.T, o vublk.ServerOptions) *vublk.Server {
	t.Helper()
	s, err := vublk.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestServer: several Disks of all kinds on one worker, each with a life of its own.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("disk.raw"), make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := vublk.OpenFile(t.Context(), at("disk.raw"), vublk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	mem, err := blk.NewMem(mib)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mem.Close() }()
	own := newGoDisk()

	s := newServer(t, vublk.ServerOptions{Workers: 1, Poll: "off"})
	exports := map[string]*vublk.Export{}
	for name, disk := range map[string]vublk.Disk{"file": file, "mem": mem, "own": own} {
		e, err := s.Listen(at(name+".sock"), disk, vublk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != name || e.State() != vublk.StateListening {
			t.Errorf("%s is called %s and %s", name, e.Name(), e.State())
		}
		exports[name] = e
		writeAndRead(t, at(name+".sock"), 0, name[0])
	}
	e := exports["own"]
	if e.State() != vublk.StateAttached {
		t.Errorf("own is %s", e.State())
	}
	own.grow(2 * mib)
	if had, has, err := e.Resize(false); err != nil || had != mib || has != 2*mib {
		t.Errorf("resized from %d to %d: %v", had, has, err)
	}
	if had, has, err := exports["mem"].Resize(false); err != nil || had != mib || has != mib {
		t.Errorf("a Disk that has not changed: from %d to %d: %v", had, has, err)
	}
	if err := os.Truncate(at("disk.raw"), 3*mib); err != nil {
		t.Fatal(err)
	}
	if had, has, err := exports["file"].Resize(false); err != nil || had != mib || has != 3*mib {
		t.Errorf("file resized from %d to %d: %v", had, has, err)
	}
	if all, workers := s.Stats(); len(all) != 3 || all[2].Name != "own" || all[2].State != vublk.StateAttached || len(workers) != 1 {
		t.Errorf("statistics of %d exports and %d workers", len(all), len(workers))
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	<-e.Done()
	if e.State() != vublk.StateClosed || e.Err() != nil {
		t.Errorf("own is %s, %v", e.State(), e.Err())
	}
	if _, _, err := e.Resize(false); !errors.Is(err, vublk.ErrNotServing) {
		t.Errorf("resize of a closed export: %v", err)
	}
	st := e.Stats()
	if total := &st.Device.Total; total.Write.Requests != 1 || total.Read.Bytes != 4096 || st.Sessions != 1 || st.State != vublk.StateClosed {
		t.Errorf("counted %d writes, %d bytes read, %d sessions, %s", total.Write.Requests, total.Read.Bytes, st.Sessions, st.State)
	}
	if e, err = s.Listen(at("own.sock"), own, vublk.Options{}); err != nil {
		t.Fatalf("the name, the path and the Disk are free again, but: %v", err)
	}
	writeAndRead(t, at("own.sock"), 2*mib/512-8, 9) // the new end
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if e.State() != vublk.StateClosed || exports["mem"].State() != vublk.StateClosed {
		t.Error("Close has left an export")
	}
	if _, err := s.Listen(at("own.sock"), own, vublk.Options{}); !errors.Is(err, vublk.ErrClosed) {
		t.Errorf("on a closed server: %v", err)
	}
	if b, err := os.ReadFile(at("disk.raw")); err != nil || !bytes.Equal(b[:4096], pattern('f')) {
		t.Errorf("the file has other data (%v)", err)
	}
}

func TestOptionsSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	s, disk := newServer(t, vublk.ServerOptions{Workers: 1}), newGoDisk()
	if _, err := s.Listen(filepath.Join(dir, "first.sock"), disk, vublk.Options{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "new.sock")
	for want, o := range map[string]vublk.Options{
		"Queues":            {Queues: 257},
		"Name":              {Name: "first"},
		"Cache":             {Cache: "none"},
		"FlushError":        {FlushError: "never"},
		"LogicalBlockSize":  {LogicalBlockSize: 1000},
		"PhysicalBlockSize": {LogicalBlockSize: 4096, PhysicalBlockSize: 512},
		"Serial":            {Serial: "one byte more than 20"},
		"ConfigWCE":         {ConfigWCE: true, Cache: blk.CacheWritethrough},
		"disk":              {},
	} {
		var wrong *vublk.OptionError
		_, err := s.Listen(path, disk, o)
		if !errors.As(err, &wrong) || wrong.Option != want || wrong.Reason == "" || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v is not about %s", err, want)
		}
	}
	for want, listen := range map[string]func() (*vublk.Export, error){
		"path: missing": func() (*vublk.Export, error) { return s.Listen("", newGoDisk(), vublk.Options{}) },
		"path=": func() (*vublk.Export, error) {
			return s.Listen(path+strings.Repeat("x", 200), newGoDisk(), vublk.Options{})
		},
		"disk: missing": func() (*vublk.Export, error) { return s.Listen(path, nil, vublk.Options{}) },
		"it has 0 bytes": func() (*vublk.Export, error) {
			return s.Listen(path, &goDisk{}, vublk.Options{})
		},
	} {
		if _, err := listen(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(path, newGoDisk(), vublk.Options{}); !errors.Is(err, vhostuser.ErrNotSocket) {
		t.Errorf("on a file: %v", err)
	}
	for want, o := range map[string]vublk.ServerOptions{
		"Poll": {Poll: "often"}, "Workers": {Workers: -1}, "CPUs": {CPUs: []int{runtime.NumCPU() + 4096}},
	} {
		var wrong *vublk.OptionError
		if _, err := vublk.NewServer(o); !errors.As(err, &wrong) || wrong.Option != want {
			t.Errorf("error %v is not about %s", err, want)
		}
	}
}

// TestCloseWhileExportsAreAdded: each Listen serves or says that it is too late, and nothing is left.
func TestCloseWhileExportsAreAdded(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		s, err := vublk.NewServer(vublk.ServerOptions{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		var adding sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			adding.Go(func() {
				e, err := s.Listen(filepath.Join(dir, name), newGoDisk(), vublk.Options{})
				switch {
				case err == nil:
					<-e.Done()
				case !errors.Is(err, vublk.ErrClosed):
					t.Errorf("listen: %v", err)
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		adding.Wait()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("left: %v, %v", left, err)
		}
	}
}

// TestEverythingAtOnce: any goroutine may call, at any moment in an export's life.
func TestEverythingAtOnce(t *testing.T) {
	path, disk := filepath.Join(t.TempDir(), "vm.sock"), newGoDisk()
	s := newServer(t, vublk.ServerOptions{Workers: 2})
	for range 30 {
		e, err := s.Listen(path, disk, vublk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		front, err := vhostusertest.Connect(path, vhostusertest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := front.Start(); err != nil {
			t.Fatal(err)
		}
		var asking sync.WaitGroup
		for range 3 {
			asking.Go(func() {
				for {
					if _, _, err := e.Resize(false); err != nil && !errors.Is(err, vublk.ErrNotServing) {
						t.Errorf("resize: %v", err)
					}
					if e.ClearFlushError() {
						t.Error("no flush has failed")
					}
					if all, workers := s.Stats(); len(all) > 1 || len(workers) != 2 || len(s.Pending()) > 0 {
						t.Errorf("%d exports, %d workers", len(all), len(workers))
					}
					if st := e.Stats(); st.State == vublk.StateClosed {
						return
					}
				}
			})
		}
		for range 2 {
			asking.Go(func() {
				if err := e.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
		asking.Wait()
		if err := front.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenFileIsLocked: OpenFile waits for nobody when it is told to, and says who has the image.
func TestOpenFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := vublk.OpenFile(t.Context(), path, vublk.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	var locked *blk.LockedError
	if _, err := vublk.OpenFile(t.Context(), path, vublk.FileOptions{LockTimeout: -1}); !errors.As(err, &locked) || locked.Holder == "" {
		t.Fatalf("opened twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := vublk.OpenFile(ctx, path, vublk.FileOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("waited: %v", err)
	}
}
