package scribe

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestCheck: what a run leaves is found right, and each way of spoiling it is found.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	var made atomic.Int64
	const writers, enough = 2, 3 * slots
	// Some writer has come round to a name again, and each has used all of its own, however the writers share the machine.
	done := func() bool {
		if made.Load() < enough {
			return false
		}
		for w := range writers {
			if _, err := os.Stat(filepath.Join(dir, record{w, slots - 1}.name())); err != nil {
				return false
			}
		}
		return true
	}
	report, err := Run(dir, writers, done, func(int64) { made.Add(1) })
	if err != nil || report.Records < enough || report.Syncs != 3*report.Records || report.Longest <= 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if n, err := Check(dir, writers); err != nil || int64(n) != report.Records {
		t.Fatalf("%d records, %v: want %d", n, err, report.Records)
	}
	for name, spoil := range map[string]func(path string, b []byte) error{
		"one byte": func(path string, b []byte) error { b[len(b)-1]++; return os.WriteFile(path, b, 0o600) },
		"cut off":  func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)-1], 0o600) },
		"older":    func(path string, _ []byte) error { return os.WriteFile(path, record{1, 0}.content(), 0o600) },
		"gone":     func(path string, _ []byte) error { return os.Remove(path) },
	} {
		path := filepath.Join(dir, record{1, 3}.name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := append([]byte{}, b...)
		if err := spoil(path, b); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(dir, writers); err == nil {
			t.Errorf("%s: nothing is found", name)
		}
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
