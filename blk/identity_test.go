package blk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vublk/vublk/blk"
)

func TestChanged(t *testing.T) {
	const size = 1 << 20
	replace := func(path string) error {
		if err := os.WriteFile(path+".new", make([]byte, size), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	for name, c := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"no":       {func(string) error { return nil }, ""},
		"content":  {func(path string) error { return os.WriteFile(path, make([]byte, size), 0o600) }, ""},
		"replaced": {replace, "another has taken its place: restart vublk"},
		"gone":     {os.Remove, "no such file"},
		"grown":    {func(path string) error { return os.Truncate(path, 2*size) }, ""}, // that is for Measure to find
	} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := blk.OpenFile(t.Context(), path, blk.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.change(path); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := d.Changed(); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
