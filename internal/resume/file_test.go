package resume_test

import (
	"bytes"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

func newFile(t *testing.T) *resume.File {
	t.Helper()
	f, err := resume.NewFile()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// reopened is the file as a successor finds it.
func reopened(t *testing.T, f *resume.File) *resume.File {
	t.Helper()
	fd, err := sys.NewFD(f.FD()).Dup()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	g, err := resume.OpenFile(fd)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func want(t *testing.T, f *resume.File, value string, step uint8) {
	t.Helper()
	got, n, err := reopened(t, f).Load()
	if err != nil || string(got) != value || n != step {
		t.Fatalf("%q step %d, %v; want %q step %d", got, n, err, value, step)
	}
}

func save(t *testing.T, f *resume.File, value string, step uint8) {
	t.Helper()
	if err := f.Save([]byte(value), step); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	f := newFile(t)
	if _, _, err := reopened(t, f).Load(); !errors.Is(err, resume.ErrNoValue) {
		t.Fatalf("%v, want ErrNoValue", err)
	}
	for i, value := range []string{"first", "the second one, which is longer", "3", ""} {
		save(t, f, value, uint8(i))
		want(t, f, value, uint8(i))
		if err := f.Step(200); err != nil {
			t.Fatal(err)
		}
		want(t, f, value, 200)
	}
	next := reopened(t, f) // goes on where the one before ended
	save(t, next, "another writer's", 1)
	want(t, f, "another writer's", 1)
	if err := next.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reopened(t, f).Load(); !errors.Is(err, resume.ErrNoValue) {
		t.Fatalf("%v, want ErrNoValue", err)
	}
	save(t, next, "once more", 2)
	want(t, f, "once more", 2)
}

// TestFileCutOff stops a Save after each of its bytes: what the file holds then is the value before.
func TestFileCutOff(t *testing.T) {
	f := newFile(t)
	save(t, f, "zero", 0)
	save(t, f, "the old value", 1)
	before := content(t, f.FD())
	save(t, f, "the new value, and a longer one", 2)
	after := content(t, f.FD())
	// The first write changes a slot, the second the head.
	slot := 4096
	for before[slot] == after[slot] {
		slot++
	}
	for n := range 60 {
		cut := bytes.Clone(before)
		copy(cut[slot:slot+n], after[slot:slot+n])
		if _, err := unix.Pwrite(f.FD(), cut[:16384], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(f.FD(), cut[slot&^4095:][:4096], int64(slot&^4095)); err != nil {
			t.Fatal(err)
		}
		want(t, f, "the old value", 1)
	}
	if _, err := unix.Pwrite(f.FD(), after[8:12], 8); err != nil {
		t.Fatal(err)
	}
	want(t, f, "the new value, and a longer one", 2)
}

func content(t *testing.T, fd int) []byte {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size)
	if _, err := unix.Pread(fd, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBadFile: damage is an error, never a value.
func TestBadFile(t *testing.T) {
	f := newFile(t)
	save(t, f, "value", 1)
	at := int64(bytes.Index(content(t, f.FD()), []byte("value")))
	for name, damage := range map[string]struct {
		b  []byte
		at int64
	}{
		"checksum": {[]byte("V"), at},
		"length":   {[]byte{0xff, 0xff, 0xff, 0xff}, at - 8},
		"long":     {[]byte{6}, at - 8},
	} {
		good := content(t, f.FD())[damage.at : damage.at+int64(len(damage.b))]
		if _, err := unix.Pwrite(f.FD(), damage.b, damage.at); err != nil {
			t.Fatal(err)
		}
		if v, _, err := reopened(t, f).Load(); err == nil {
			t.Errorf("%s: %q is no error", name, v)
		}
		if _, err := unix.Pwrite(f.FD(), good, damage.at); err != nil {
			t.Fatal(err)
		}
	}
	want(t, f, "value", 1)
	if err := f.Save(make([]byte, 4<<20), 0); err == nil {
		t.Error("there is no room, and no error")
	}
	want(t, f, "value", 1)
	for _, b := range []string{"", "vublk", "something else altogether"} {
		fd, err := sys.Memfd("none", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd.Int(), []byte(b)); err != nil {
			t.Fatal(err)
		}
		if _, err := resume.OpenFile(fd); err == nil {
			t.Errorf("%q is taken for a state file", b)
		}
		_ = fd.Close()
	}
}
