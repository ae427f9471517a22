package cli

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDescriptors: too few for the exports is an error with the way out, too few for their front-ends a warning.
func TestDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	log := DefaultLog().logger(&b)
	if err := reserveDescriptors(1, log); err != nil || b.Len() > 0 {
		t.Errorf("one export: %v, %s", err, b.String())
	}
	if err := reserveDescriptors(int(limit.Cur)/3, log); err != nil || !strings.Contains(b.String(), "LimitNOFILE") {
		t.Errorf("no room for front-ends: %v, %q", err, b.String())
	}
	if err := reserveDescriptors(int(limit.Cur), log); err == nil || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("no room for exports: %v", err)
	}
}
