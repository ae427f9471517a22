package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/blk"
	"github.com/vublk/vublk/internal/cli/clitest"
	"github.com/vublk/vublk/internal/export"
	"github.com/vublk/vublk/internal/statedir"
	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// want demands an error of a kind, with these parts in one line.
func want(t *testing.T, err error, kind string, parts ...string) {
	t.Helper()
	if kindOf(err) != kind {
		t.Fatalf("%q: %v; want %q", kindOf(err), err, kind)
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want %q in one line", err, part)
		}
	}
}

// TestLife takes one export through everything, with a restart between any two steps.
func TestLife(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	state := func(want State, drained bool) Status {
		t.Helper()
		st, err := r.Get("vm")
		if err != nil || st.State != want || st.Error != "" {
			t.Fatalf("%v %q, %v; want %v", st.State, st.Error, err, want)
		}
		if got := r.kept()["vm"].Drained; got != drained {
			t.Fatalf("kept as drained: %v", got)
		}
		return st
	}
	steps := []func(){
		func() {
			if st := r.create("vm", "a"); st.State != Listening || st.Capacity != mib {
				t.Fatalf("%+v", st)
			}
		},
		func() {
			got, err := r.Resize(ctx, "vm", 2*mib, false)
			if err != nil || got != (export.Resized{Old: mib, New: 2 * mib}) {
				t.Fatal(got, err)
			}
		},
		func() {
			st, err := r.Update(ctx, "vm", map[string]string{"cache": "writethrough", "serial": "x1"}, false)
			if err != nil || st.Definition.Device.Cache != blk.CacheWritethrough || st.State != Listening {
				t.Fatalf("%+v, %v", st, err)
			}
		},
		func() {
			st, err := r.Drain(ctx, "vm")
			if err != nil || st.State != Drained || st.Capacity != 0 {
				t.Fatalf("%+v, %v", st, err)
			}
		},
		func() {
			state(Drained, true)
			st, err := r.Update(ctx, "vm", map[string]string{"cache": "auto"}, false)
			if err != nil || st.State != Drained {
				t.Fatalf("%+v, %v", st, err)
			}
		},
		func() { state(Drained, true); _, err := r.Drain(ctx, "vm"); r.must(err) },
		func() {
			_, err := r.Resize(ctx, "vm", 0, false)
			want(t, err, "failed precondition", "out of service")
			_, err = r.ClearError(ctx, "vm")
			want(t, err, "failed precondition", "out of service")
			st, err := r.Start(ctx, "vm")
			if err != nil || st.State != Listening {
				t.Fatalf("%+v, %v", st, err)
			}
		},
		func() { state(Listening, false); _, err := r.Start(ctx, "vm"); r.must(err) },
		func() {
			st := state(Listening, false)
			if st.Capacity != 2*mib || st.Definition.Device.Cache != blk.CacheAuto || st.Definition.Device.Serial != "x1" {
				t.Fatalf("%+v", st)
			}
			r.must(r.Delete(ctx, "vm", false))
		},
		func() {
			if len(r.List("")) != 0 || len(r.kept()) != 0 {
				t.Fatalf("left: %v, %v", r.List(""), r.kept())
			}
			want(t, r.Delete(ctx, "vm", true), "not found", "vm", "vublk export list")
		},
	}
	for _, step := range steps {
		step()
		r.again()
	}
	if _, err := os.Stat(r.path("a.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if st, err := os.Stat(r.path("a.raw")); err != nil || st.Size() != 2*mib {
		t.Errorf("the image: %v, %v", st, err)
	}
}

// TestRefused wants what is wrong to be said, and to change nothing.
func TestRefused(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.create("vm", "a")
	before := fmt.Sprint(r.kept())
	define := func(change func(*export.Definition)) export.Definition {
		d := r.define("new", "b")
		change(&d)
		return d
	}
	creates := []struct {
		kind, part string
		size       int64
		def        export.Definition
	}{
		{"already exists", "vm", mib, define(func(d *export.Definition) { d.Name = "vm" })},
		{"already exists", "socket", mib, define(func(d *export.Definition) { d.Socket.Path = r.path("a.sock") })},
		{"already exists", "same image", mib, define(func(d *export.Definition) { d.Disk.File = r.path("a.raw") })},
		{"failed precondition", "blk-file=" + r.path("b.raw") + ": ", 0, define(func(*export.Definition) {})},
		{"failed precondition", "socket-path=" + r.path("a.raw") + ": ", mib, define(func(d *export.Definition) { d.Socket.Path = r.path("a.raw") })},
		{"failed precondition", "blk-file=" + r.path("no/such.raw") + ": ", mib, define(func(d *export.Definition) { d.Disk.File = r.path("no/such.raw") })},
		{"invalid create-size", "logical blocks", 513, define(func(*export.Definition) {})},
		{"invalid create-size", "smaller", -1, define(func(*export.Definition) {})},
		{"invalid blk-file", "relative", 0, define(func(d *export.Definition) { d.Disk.File = "b.raw" })},
		{"invalid socket-path", "relative", 0, define(func(d *export.Definition) { d.Socket.Path = "b.sock" })},
		{"invalid blk-file", "NUL", 0, define(func(d *export.Definition) { d.Disk.File = "/b\x00.raw" })},
		{"invalid blk-file", "definitions", mib, define(func(d *export.Definition) { d.Disk.File = filepath.Join(r.stateDir(), "new.export") })},
		{"invalid socket-path", "definitions", mib, define(func(d *export.Definition) { d.Socket.Path = filepath.Join(r.stateDir(), "lock") })},
		{"invalid fd", "inherit", 0, define(func(d *export.Definition) { d.Socket.Path, d.Socket.FD = "", 7 })},
		{"invalid name", "control", 0, define(func(d *export.Definition) { d.Name = "a\nb" })},
		{"invalid name", "256 bytes", 0, define(func(d *export.Definition) { d.Name = strings.Repeat("x", 256) })},
		{"invalid name", "UTF-8", 0, define(func(d *export.Definition) { d.Name = "\xff" })},
	}
	for _, c := range creates {
		_, err := r.Create(ctx, c.def, c.size)
		want(t, err, c.kind, c.part)
		if _, err := os.Stat(r.path("b.raw")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s: an image is left: %v", c.part, err)
		}
	}
	_, err := r.Resize(ctx, "vm", 1000, false)
	want(t, err, "invalid size", "logical blocks")
	_, err = r.Resize(ctx, "vm", mib/2, false)
	want(t, err, "failed precondition", "shrink")
	_, err = r.Update(ctx, "vm", map[string]string{"cache": "writethrough", "blk-file": "/x"}, false)
	want(t, err, "invalid blk-file")
	_, err = r.Update(ctx, "vm", map[string]string{"cache": "writethrough", "serial": strings.Repeat("x", 21)}, false)
	want(t, err, "invalid serial")
	_, err = r.Update(ctx, "vm", map[string]string{"colour": "red"}, false)
	want(t, err, "invalid colour", "cache")
	_, err = r.Get("nobody")
	want(t, err, "not found", "nobody")
	if st, err := r.Get("vm"); err != nil || st.State != Listening || st.Capacity != mib || fmt.Sprint(r.kept()) != before || len(r.List("")) != 1 {
		t.Errorf("something has changed: %+v, %v, %v", st, err, r.kept())
	}
}

// TestConnected has a front-end be there that would lose its disk.
func TestConnected(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.create("vm", "a")
	g := clitest.Attach(t, r.path("a.sock"), vhostusertest.Options{})
	data := []byte(strings.Repeat("content ", 512))
	if status := g.Do(0, clitest.Out, 0, data); status != clitest.StatusOK {
		t.Fatal(status)
	}
	st, err := r.Get("vm")
	if err != nil || st.State != Attached || st.RunningQueues != 1 || !strings.Contains(st.FrontEnd, fmt.Sprint("pid ", os.Getpid())) {
		t.Fatalf("%+v, %v", st, err)
	}
	want(t, r.Delete(ctx, "vm", false), "failed precondition", st.FrontEnd, "force")
	_, err = r.Update(ctx, "vm", map[string]string{"serial": "x"}, false)
	want(t, err, "failed precondition", st.FrontEnd, "disconnect")
	if st, err = r.Update(ctx, "vm", map[string]string{"lock-timeout": "3s"}, false); err != nil || st.State != Attached {
		t.Fatalf("an option that no front-end reads: %+v, %v", st, err)
	}
	if status := g.Do(0, clitest.Out, 8, data); status != clitest.StatusOK {
		t.Fatal(status)
	}
	r.must(r.Delete(ctx, "vm", true))
	if b, err := os.ReadFile(r.path("a.raw")); err != nil || string(b[:8192]) != string(data)+string(data) {
		t.Errorf("what was written is not there: %v", err)
	}
}

// TestFailedIsReported begins with a definition that cannot be served, and one that can.
func TestFailedIsReported(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.create("good", "a")
	r.create("bad", "b")
	r.end()
	if err := os.Rename(r.path("b.raw"), r.path("away")); err != nil {
		t.Fatal(err)
	}
	r.begin()
	events := r.Subscribe(nil)
	defer events.Close()
	r.settled()
	if st, err := r.Get("good"); err != nil || st.State != Listening {
		t.Errorf("%+v, %v", st, err)
	}
	bad := func() Status {
		t.Helper()
		st, err := r.Get("bad")
		r.must(err)
		return st
	}
	for bad().State != Failed { // Settled waits for the export; what it has come to is noted a moment later
		if ctx.Err() != nil {
			t.Fatalf("%+v", bad())
		}
	}
	if st := bad(); !strings.Contains(st.Error, "b.raw") {
		t.Errorf("%+v", st)
	}
	if names := r.Unserved(); len(names) != 1 || names[0] != "bad" {
		t.Errorf("unserved: %q", names)
	}
	if list := r.Absent(); len(list) != 1 || list[0].Definition.Name != "bad" || list[0].State != Failed {
		t.Errorf("absent: %+v", list)
	}
	_, err := r.Start(ctx, "bad")
	want(t, err, "failed precondition", "b.raw")
	if _, err := r.Update(ctx, "bad", map[string]string{"serial": "y"}, false); err != nil {
		t.Errorf("one that is not served cannot be mended: %v", err)
	}
	if err := os.Rename(r.path("away"), r.path("b.raw")); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Start(ctx, "bad"); err != nil || st.State != Listening || st.Definition.Device.Serial != "y" {
		t.Errorf("%+v, %v", st, err)
	}
	if len(r.Unserved()) != 0 || len(r.Absent()) != 0 {
		t.Errorf("unserved: %q, absent: %+v", r.Unserved(), r.Absent())
	}
}

// TestCancelled gives calls up before and while they run.
func TestCancelled(t *testing.T) {
	r := newRig(t)
	r.create("vm", "a")
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Create(gone, r.define("new", "b"), mib)
	want(t, err, "context")
	_, err = r.Drain(gone, "vm")
	want(t, err, "context")
	want(t, r.Delete(gone, "vm", true), "context")
	if st, err := r.Get("vm"); err != nil || st.State != Listening || len(r.List("")) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := os.Stat(r.path("b.raw")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an image is left: %v", err)
	}
}

// TestStartThatFails leaves an export what it was: drained, or failed because of what kept it from being served.
func TestStartThatFails(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.create("vm", "a")
	_, err := r.Drain(ctx, "vm")
	r.must(err)
	r.must(os.Rename(r.path("a.raw"), r.path("away")))
	events := r.Subscribe(nil)
	defer events.Close()
	_, err = r.Start(ctx, "vm")
	want(t, err, "failed precondition", "a.raw")
	for len(events.Events()) > 0 {
		if e := <-events.Events(); e.State == Failed {
			t.Errorf("a drained export is said to have failed: %+v", e)
		}
	}

	r.must(os.Rename(r.path("away"), r.path("a.raw")))
	_, err = r.Update(ctx, "vm", map[string]string{"lock-timeout": "1m"}, false)
	r.must(err)
	_, err = r.Start(ctx, "vm")
	r.must(err)
	r.end()
	r.must(os.Rename(r.path("a.raw"), r.path("away")))
	r.again()
	for st, err := r.Get("vm"); st.State != Failed; st, err = r.Get("vm") {
		if err != nil || ctx.Err() != nil {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	r.must(os.Rename(r.path("away"), r.path("a.raw")))
	image, err := os.OpenFile(r.path("a.raw"), os.O_RDWR, 0)
	r.must(err)
	defer func() { _ = image.Close() }()
	r.must(unix.FcntlFlock(image.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})) // so that Start waits
	short, give := context.WithTimeout(ctx, 50*time.Millisecond)
	defer give()
	if _, err = r.Start(short, "vm"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if st, err := r.Get("vm"); err != nil || st.State != Failed || !strings.Contains(st.Error, "does not exist") {
		t.Errorf("the reason is lost: %+v, %v", st, err)
	}
}

// TestEnding refuses what comes after End.
func TestEnding(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.create("vm", "a")
	early := r.Subscribe(nil)
	r.End()
	late := r.Subscribe([]string{"vm"})
	for _, s := range []*Subscription{early, late} {
		for range s.Events() {
		}
		want(t, s.Err(), "unavailable")
	}
	_, err := r.Create(ctx, r.define("new", "b"), mib)
	want(t, err, "unavailable")
	_, err = r.Drain(ctx, "vm")
	want(t, err, "unavailable")
}

// TestKilledWhileDeleting begins where a predecessor was killed between the first step of a Delete and the last.
func TestKilledWhileDeleting(t *testing.T) {
	r := newRig(t)
	def := r.create("vm", "a").Definition
	r.end()
	r.must(vhostusertest.StaleSocket(def.Socket.Path))
	raw, err := json.Marshal(&def)
	r.must(err)
	r.state, err = statedir.Open(r.stateDir(), 0)
	r.must(err)
	r.must(r.state.Put("vm", record{Definition: raw, Deleted: true}))
	r.must(r.state.Close())
	r.begin()
	if len(r.List("")) != 0 || len(r.kept()) != 0 {
		t.Errorf("left: %v, %v", r.List(""), r.kept())
	}
	if _, err := os.Stat(def.Socket.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is left: %v", err)
	}
}
