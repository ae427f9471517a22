package frontends

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// descriptor is VhostUserBackend of QEMU's docs/interop/vhost-user.json.
type descriptor struct {
	Description string   `json:"description"`
	Type        string   `json:"type"`
	Binary      string   `json:"binary"`
	Tags        []string `json:"tags,omitempty"`
}

// capabilities is VhostUserBackendCapabilities, with the features of VhostUserBackendBlockFeature.
type capabilities struct {
	Type     string   `json:"type"`
	Features []string `json:"features"`
}

// strictly decodes JSON that has the fields of v and no others.
func strictly(t *testing.T, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	must(t, d.Decode(v))
}

// TestDiscovery installs vublk and finds it as management software does: by the file that describes it, and by what the
// program of that file says of itself.
func TestDiscovery(t *testing.T) {
	dest := newDir(t)
	install := exec.Command("make", "install", "DESTDIR="+dest, "PREFIX=/usr")
	install.Dir = lab.repo
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	files, err := filepath.Glob(dest + "/usr/share/qemu/vhost-user/*")
	must(t, err)
	if len(files) != 1 || !regexp.MustCompile(`^[0-9]{2}-[a-z-]+\.json$`).MatchString(filepath.Base(files[0])) {
		t.Fatalf("installed: %q", files)
	}
	text, err := os.ReadFile(files[0])
	must(t, err)
	var d descriptor
	strictly(t, text, &d)
	if d.Description == "" || d.Type != "block" || !filepath.IsAbs(d.Binary) {
		t.Fatalf("%+v", d)
	}
	// The conventions: whatever else is said, the answer goes to standard output and the status is 0.
	out, err := exec.Command(dest+d.Binary, "--print-capabilities", "--whatever").Output()
	must(t, err)
	var c capabilities
	strictly(t, out, &c)
	equal(t, "type", c.Type, d.Type)
	slices.Sort(c.Features)
	if !slices.Equal(c.Features, []string{"blk-file", "read-only"}) {
		t.Errorf("features %q", c.Features)
	}
}
