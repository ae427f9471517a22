package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestDowngrade starts this program where a newer one has been: what that one wrote stays as it is, also when somebody asks for
// an export of that name.
func TestDowngrade(t *testing.T) {
	r := newRig(t)
	r.create("vm", "vm")
	r.create("other", "other")
	r.end()
	file := filepath.Join(r.stateDir(), "vm.export")
	written, err := os.ReadFile(file)
	r.must(err)
	_, body, _ := bytes.Cut(written, []byte("\n"))
	newer := bytes.Replace(body, []byte(`"version": 1,`), []byte(`"version": 2, "mirror": "/dev/sdz",`), 1)
	if bytes.Equal(newer, body) {
		t.Fatalf("no version in %s", body)
	}
	newer = append([]byte("vublk-export 1 sha256=any\n"), newer...)
	r.must(os.WriteFile(file, newer, 0o600))

	r.begin()
	ctx, cancel := patience()
	defer cancel()
	r.settled()
	if all := r.List(""); len(all) != 1 || all[0].State != Listening {
		t.Errorf("served: %v", all)
	}
	if aside := r.Info().SetAside; len(aside) != 1 || aside[0] != file {
		t.Errorf("reported: %q, want %q", aside, file)
	}
	if _, err := r.Create(ctx, r.define("vm", "fresh"), mib); kindOf(err) != "failed precondition" {
		t.Errorf("another of that name: %v", err)
	}
	if _, err := os.Stat(r.path("fresh.raw")); !os.IsNotExist(err) {
		t.Errorf("its image was left: %v", err)
	}
	r.again()
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, newer) {
		t.Errorf("it was changed to %q, %v", now, err)
	}
}
