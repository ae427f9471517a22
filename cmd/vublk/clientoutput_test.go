package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJSONOfSeveral: an object a line.
func TestJSONOfSeveral(t *testing.T) {
	h := newHost(t)
	h.create("a")
	h.create("b")
	for _, verb := range []string{"drain", "start", "clear-error", "delete"} {
		lines := strings.Split(strings.TrimSpace(h.does("export", verb, "a", "b", "--output=json")), "\n")
		if len(lines) != 2 || !json.Valid([]byte(lines[0])) || !json.Valid([]byte(lines[1])) {
			t.Errorf("%s: %q", verb, lines)
		}
	}
}

// TestSetAsideIsListed: who looks at the list sees that something is missing there.
func TestSetAsideIsListed(t *testing.T) {
	h := newHost(t)
	h.create("vm")
	h.stop()
	file := filepath.Join(h.dir, "state", "vm.export")
	if err := os.Truncate(file, 50); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also when that is long ago
		h.start()
		stdout, stderr := h.run(0, "export", "list")
		wantAll(t, stderr, file+".damaged-1: set aside")
		if strings.Contains(stdout, "vm") {
			t.Errorf("listed: %s", stdout)
		}
		h.stop()
	}
}
