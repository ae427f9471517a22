package sys

import (
	"os"
	"testing"
)

func TestSameFile(t *testing.T) {
	a, err := EventFD()
	must(t, err)
	defer func() { _ = a.Close() }()
	b, err := EventFD()
	must(t, err)
	defer func() { _ = b.Close() }()
	dup, err := a.Dup()
	must(t, err)
	defer func() { _ = dup.Close() }()
	if !SameFile(a.Int(), dup.Int()) {
		t.Error("a duplicate is another file")
	}
	if SameFile(a.Int(), b.Int()) || SameFile(a.Int(), -1) {
		t.Error("two eventfds are one file")
	}
}

func TestReopen(t *testing.T) {
	m, err := Memfd("reopen", 4096)
	must(t, err)
	defer func() { _ = m.Close() }()
	own := Reopen(m.Int())
	if own == nil {
		t.Fatal("memory cannot be opened again")
	}
	defer func() { _ = own.Close() }()
	if SameFile(m.Int(), own.Int()) {
		t.Error("what was opened again is the same open file")
	}
	w := os.NewFile(uintptr(own.Disown()), "memory")
	defer func() { _ = w.Close() }()
	if _, err := w.WriteAt([]byte("x"), 4095); err != nil {
		t.Error(err)
	}
	e, err := EventFD()
	must(t, err)
	defer func() { _ = e.Close() }()
	if Reopen(e.Int()) != nil || Reopen(-1) != nil {
		t.Error("what is no file was opened again")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
