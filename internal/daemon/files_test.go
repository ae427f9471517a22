package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/vhostuser/vhostusertest"
)

// TestFullStateDirectory fills the file system: what is refused has changed nothing, and there is room to delete.
func TestFullStateDirectory(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	r.end()
	if err := unix.Mount("tmpfs", r.stateDir(), "tmpfs", 0, "size=16k"); err != nil {
		t.Fatalf("mount a tmpfs (these tests need root): %v", err)
	}
	t.Cleanup(func() {
		r.end()
		_ = unix.Unmount(r.stateDir(), unix.MNT_DETACH)
	})
	r.begin()
	made := 0
	var full error
	for ; full == nil && made < 100; made++ {
		_, full = r.Create(ctx, r.define(fmt.Sprint("vm", made), fmt.Sprint(made)), mib)
	}
	made--
	want(t, full, "failed precondition", "no space left", r.stateDir())
	if made < 2 || len(r.List("")) != made || len(r.kept()) != made {
		t.Fatalf("%d made, %d listed, %d kept", made, len(r.List("")), len(r.kept()))
	}
	for _, left := range []string{".raw", ".sock"} {
		if _, err := os.Stat(r.path(fmt.Sprint(made) + left)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s of the refused one is left: %v", left, err)
		}
	}
	_, err := r.Update(ctx, "vm0", map[string]string{"serial": "x"}, false)
	want(t, err, "failed precondition", "no space left")
	if st, err := r.Get("vm0"); err != nil || st.State != Listening || st.Definition.Device.Serial != "" {
		t.Errorf("a refused update: %+v, %v", st, err)
	}
	_, err = r.Drain(ctx, "vm0")
	want(t, err, "failed precondition", "no space left")
	r.must(r.Delete(ctx, "vm0", false))
	r.again()
	if len(r.List("")) != made-1 || len(r.kept()) != made-1 {
		t.Errorf("%d made, %d listed, %d kept", made-1, len(r.List("")), len(r.kept()))
	}
}

// TestMakeImage: what has the name already stays, with and without files that have no name yet.
func TestMakeImage(t *testing.T) {
	for what, make := range map[string]func(string, int64) error{"unnamed": makeUnnamed, "named": makeNamed} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		if err := make(path, 3*mib); err != nil {
			t.Fatal(what, err)
		}
		if st, err := os.Stat(path); err != nil || st.Size() != 3*mib || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", what, st, err)
		}
		if err := make(path, mib); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: a second time: %v", what, err)
		}
		undo, err := makeImage(path, mib)
		if err != nil {
			t.Fatal(what, err)
		}
		undo()
		if st, err := os.Stat(path); err != nil || st.Size() != 3*mib {
			t.Errorf("%s: the file that was there: %v, %v", what, st, err)
		}
		if err := make(filepath.Join(path, "below"), mib); err == nil {
			t.Errorf("%s: below a file", what)
		}
	}
}

// TestNoSocketIsLeft has exports that are ended before they came to listen, where a killed predecessor did.
func TestNoSocketIsLeft(t *testing.T) {
	r := newRig(t)
	ctx, cancel := patience()
	defer cancel()
	for i, end := range []func(string) error{
		func(name string) error { return r.Delete(ctx, name, false) },
		func(name string) error { _, err := r.Drain(ctx, name); return err },
	} {
		base := fmt.Sprint(i)
		r.create("vm"+base, base)
		r.end()
		if err := os.Remove(r.path(base + ".raw")); err != nil {
			t.Fatal(err)
		}
		r.must(vhostusertest.StaleSocket(r.path(base + ".sock")))
		r.begin()
		r.must(end("vm" + base))
		if _, err := os.Stat(r.path(base + ".sock")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d: the socket is left: %v", i, err)
		}
	}
}
