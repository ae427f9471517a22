package statedir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// reopen closes d and reads what is there.
func reopen(t *testing.T, d *Dir) (map[string]string, []Damage) {
	t.Helper()
	_ = d.Close() // it may be closed
	again, err := Open(d.Path(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	values, bad, err := again.Load()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range values {
		var compact bytes.Buffer
		if err := json.Compact(&compact, v.JSON); err != nil {
			t.Fatal(err)
		}
		got[v.Name] = compact.String()
	}
	return got, bad
}

func put(t *testing.T, d *Dir, name string, value any) {
	t.Helper()
	if err := d.Put(name, value); err != nil {
		t.Fatal(err)
	}
}

func TestKeeps(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "a", "b"))
	names := []string{
		"vm", "vm.1", ".hidden", "..", ".", "a/b", "/", "a b", "ü", "%41", "A", "a", "lock", ".new-x", "x.export", "x.export.damaged-1",
		strings.Repeat("x", 255), strings.Repeat("x", 254) + "y", strings.Repeat("/", 255), "~", "new\nline",
	}
	want := map[string]string{}
	for i, name := range names {
		put(t, d, name, -1)
		put(t, d, name, i)
		want[name] = fmt.Sprint(i)
	}
	if err := d.Remove("vm.1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Put("\xff\xfe", 1); err == nil {
		t.Error("a name that JSON cannot hold was accepted")
	}
	if err := d.Remove("never there"); err != nil {
		t.Fatal(err)
	}
	delete(want, "vm.1")
	got, bad := reopen(t, d)
	if len(bad) != 0 || len(got) != len(want) {
		t.Fatalf("%d values of %d, damaged: %v", len(got), len(want), bad)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%q is %q, want %q", name, got[name], value)
		}
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "state"))
	put(t, d, "vm", 1)
	for path, want := range map[string]os.FileMode{"": 0o700, "vm.export": 0o600, lockFile: 0o600} {
		st, err := os.Stat(filepath.Join(d.Path(), path))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", path, st.Mode().Perm(), want)
		}
	}
}

// TestDamage changes one value in all the ways that a crash, a disk and an operator may, and wants it reported, set aside, and
// the other one read.
func TestDamage(t *testing.T) {
	whole, err := encode("bad", map[string]int{"x": 1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := encode("another", 1)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"empty": {}, "zeros": make([]byte, 4096), "copy": other, "huge": bytes.Repeat([]byte("x"), maxFile+1),
		"no name":     []byte(magic + " 1 sha256=any\n{\"value\":1}"),
		"not JSON":    []byte(magic + " 1 sha256=any\nhello"),
		"another sum": []byte(magic + " 1 sha256=00\n{\"name\":\"bad\",\"value\":1}"),
		"text behind": append(bytes.Clone(whole), "x"...),
	}
	for n := range whole {
		cases[fmt.Sprintf("cut at %d", n)] = whole[:n]
		flipped := bytes.Clone(whole)
		flipped[n] ^= 1
		if n != bytes.IndexByte(whole, ' ')+1 { // of the version: too new, or older
			cases[fmt.Sprintf("bit of byte %d", n)] = flipped
		}
	}
	for name, b := range cases {
		d := open(t, t.TempDir())
		put(t, d, "good", 7)
		if err := os.WriteFile(filepath.Join(d.Path(), "bad.export"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, bad := reopen(t, d)
		if len(got) != 1 || got["good"] != "7" {
			t.Errorf("%s: values %v", name, got)
		}
		if len(bad) != 1 || filepath.Base(bad[0].File) != "bad.export.damaged-1" {
			t.Errorf("%s: damage %v", name, bad)
			continue
		}
		if kept, err := os.ReadFile(bad[0].File); err != nil || !bytes.Equal(kept, b) {
			t.Errorf("%s: what was set aside is not what was there: %v", name, err)
		}
		if _, again := reopen(t, d); len(again) != 1 || again[0].File != bad[0].File {
			t.Errorf("%s: reported the next time: %v", name, again)
		}
	}
}

// TestSetAsideTwice has the same name damaged twice.
func TestSetAsideTwice(t *testing.T) {
	d := open(t, t.TempDir())
	for range 2 {
		if err := os.WriteFile(filepath.Join(d.Path(), "x.export"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Load(); err != nil {
			t.Fatal(err)
		}
	}
	_, bad := reopen(t, d)
	if len(bad) != 2 {
		t.Errorf("%d set aside, want 2: %v", len(bad), bad)
	}
}

func TestTooNewKeepsItsName(t *testing.T) {
	d := open(t, t.TempDir())
	file := filepath.Join(d.Path(), "vm.export")
	if err := os.WriteFile(file, []byte(magic+" 2 sha256=any\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, bad := reopen(t, d)
	if len(got) != 0 || len(bad) != 1 || bad[0].File != file || !errors.Is(bad[0].Err, ErrTooNew) {
		t.Errorf("values %v, damage %v", got, bad)
	}
}

// TestTooNewIsNotWrittenOver also when only the caller can tell.
func TestTooNewIsNotWrittenOver(t *testing.T) {
	d := open(t, t.TempDir())
	put(t, d, "vm", "of the future")
	if bad := d.SetAside("vm", errors.Wrap(ErrTooNew, "version 2")); bad.File != filepath.Join(d.Path(), "vm.export") {
		t.Errorf("it is %v now", bad)
	}
	if err := d.Put("vm", 1); !errors.Is(err, ErrTooNew) {
		t.Errorf("written over: %v", err)
	}
	put(t, d, "other", 1)
	if got, bad := reopen(t, d); got["vm"] != `"of the future"` || len(bad) != 0 {
		t.Errorf("values %v, damage %v", got, bad)
	}
}

// TestOwns: by whatever name the directory is called.
func TestOwns(t *testing.T) {
	d := open(t, t.TempDir())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(d.Path(), link); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"vm.export": true, "lock": true, temporary + "vm": true, "vm.export.damaged-1": true, "vm.raw": false, "vm.sock": false, "sub/vm.export": false,
	} {
		for _, dir := range []string{d.Path(), link, d.Path() + "/../" + filepath.Base(d.Path())} {
			if got := d.Owns(dir + "/" + file); got != want {
				t.Errorf("%s/%s: %v, want %v", dir, file, got, want)
			}
		}
	}
	if d.Owns(filepath.Join(t.TempDir(), "vm.export")) {
		t.Error("a file elsewhere")
	}
}

// TestEditedByHand has an operator write a definition himself.
func TestEditedByHand(t *testing.T) {
	d := open(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(d.Path(), "vm.export"), []byte(magic+" 1 sha256=any\n{\"name\":\"vm\",\"value\":{\"a\":1}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, bad := reopen(t, d); got["vm"] != `{"a":1}` || len(bad) != 0 {
		t.Errorf("values %v, damage %v", got, bad)
	}
}

// TestCutOffPut leaves a file behind that a killed process was writing.
func TestCutOffPut(t *testing.T) {
	d := open(t, t.TempDir())
	put(t, d, "vm", 1)
	left := filepath.Join(d.Path(), temporary+"vm")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, bad := reopen(t, d)
	if got["vm"] != "1" || len(bad) != 0 {
		t.Errorf("values %v, damage %v", got, bad)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestSecondOwner(t *testing.T) {
	d := open(t, t.TempDir())
	_, err := Open(d.Path(), 0)
	want := fmt.Sprintf("another daemon has it (pid %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), d.Path()) {
		t.Fatalf("a second owner: %v; want %q", err, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, d.Path())
}

func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, 0); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
}

// mount makes a tmpfs of that many bytes. Tests run as root.
func mount(t *testing.T, bytes int) string {
	t.Helper()
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatalf("mount a tmpfs (these tests need root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// TestFull fills the file system and wants a refused Put to leave what was there, and nothing beside it.
func TestFull(t *testing.T) {
	d := open(t, mount(t, 64<<10))
	put(t, d, "vm", "before")
	big := strings.Repeat("x", 48<<10)
	put(t, d, "big", big)
	for _, name := range []string{"vm", "new"} {
		if err := d.Put(name, big); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), d.Path()) {
			t.Errorf("a full file system: %v", err)
		}
	}
	if err := d.Remove("big"); err != nil {
		t.Fatal(err)
	}
	put(t, d, "small", 1)
	got, bad := reopen(t, d)
	if len(bad) != 0 || len(got) != 2 || got["vm"] != `"before"` || got["small"] != "1" {
		t.Errorf("values %v, damage %v", got, bad)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	path := mount(t, 64<<10)
	d := open(t, path)
	put(t, d, "vm", 1)
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	_ = d.Close()
	remount(unix.MS_RDONLY)
	if _, err := Open(path, 0); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "make it writable") {
		t.Errorf("a read-only file system: %v", err)
	}
	remount(0)
	if got, _ := reopen(t, open(t, path)); got["vm"] != "1" {
		t.Errorf("values %v", got)
	}
}

// A directory that is removed, or replaced, under the process that has it, or whose lock is, gets nothing: another process may
// have it by now.
func TestDirectoryThatIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Put("a", 1); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(path, lockFile)
	for _, c := range []struct {
		name, moved string
		anew        func() error
	}{
		{"directory removed", path, func() error { return nil }},
		{"directory replaced", path, func() error { return os.Mkdir(path, 0o700) }},
		{"lock removed", lock, func() error { return nil }},
		{"lock replaced", lock, func() error { return os.WriteFile(lock, nil, 0o600) }},
	} {
		if err := os.Rename(c.moved, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := c.anew(); err != nil {
			t.Fatal(err)
		}
		for verb, err := range map[string]error{"put": d.Put("b", 2), "remove": d.Remove("a")} {
			if err == nil || !strings.Contains(err.Error(), "was removed or replaced") {
				t.Errorf("%s: %s: %v", c.name, verb, err)
			}
		}
		_ = os.Remove(c.moved)
		if err := os.Rename(path+".away", c.moved); err != nil {
			t.Fatal(err)
		}
		if err := d.Put("b", 2); err != nil {
			t.Errorf("%s, and moved back: %v", c.name, err)
		}
	}
}
