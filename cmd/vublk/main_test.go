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

// serveImage starts vublk on a new image of size bytes and waits until it listens at socket, which is called vm.sock.
func serveImage(t *testing.T, o clitest.Options, size int64, args ...string) (p *clitest.Process, file, socket string) {
	t.Helper()
	dir := t.TempDir()
	file, socket = image(t, dir, "disk.raw", size), filepath.Join(dir, "vm.sock")
	p = clitest.Start(t, o, append([]string{"serve", "--socket-path=" + socket, "--blk-file=" + file}, args...)...)
	p.Await("listening")
	return p, file, socket
}

// oneLine tells whether text is exactly one line.
func oneLine(text string) bool {
	return strings.Count(text, "\n") == 1 && strings.HasSuffix(text, "\n")
}
