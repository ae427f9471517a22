package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/internal/cli/clitest"
)

func TestMain(m *testing.M) {
	forbidIOURing()
	clitest.Main(m, main)
}

// image makes a file of size bytes in dir.
func image(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneLine tells whether text is exactly one line.
func oneLine(text string) bool {
	return strings.Count(text, "\n") == 1 && strings.HasSuffix(text, "\n")
}
