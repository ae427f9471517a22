package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConflicts(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(file, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	link, hard := filepath.Join(dir, "link"), filepath.Join(dir, "hard")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ a, b, want string }{
		{"socket-path=DIR/a,blk-file=" + file, "socket-path=DIR/b,store=mem:1M", ""},
		{"socket-path=DIR/a,store=mem:1M", "socket-path=DIR/b,store=mem:1M", ""},
		{"socket-path=DIR/a,store=mem:1M", "socket-path=DIR/a,name=n,store=mem:1M", "has this socket already"},
		{"socket-path=DIR/a,store=mem:1M", "connect=DIR/self/a,name=n,store=mem:1M", "has this socket already"},
		{"fd=3,name=a,store=mem:1M", "fd=3,name=b,store=mem:1M", "has this socket already"},
		{"socket-path=DIR/a.x,store=mem:1M", "socket-path=DIR/a.y,store=mem:1M", "two exports have this name"},
		{"socket-path=DIR/a,blk-file=" + file, "socket-path=DIR/b,blk-file=" + file, "serves the same image"},
		{"socket-path=DIR/a,blk-file=" + file, "socket-path=DIR/b,blk-file=" + link, "serves the same image"},
		{"socket-path=DIR/a,blk-file=" + hard, "socket-path=DIR/b,read-only,blk-file=" + link, "serves the same image"},
		{"socket-path=DIR/a,read-only,blk-file=" + hard, "socket-path=DIR/b,read-only,blk-file=" + link, ""},
		{"socket-path=DIR/a,blk-file=/nowhere/x", "socket-path=DIR/b,blk-file=/nowhere/x", ""},
	} {
		a := define(t, strings.ReplaceAll(c.a, "DIR", dir)).withDefaults()
		b := define(t, strings.ReplaceAll(c.b, "DIR", dir)).withDefaults()
		got := ""
		if e := claimOf(&b).conflict(claimOf(&a), &b); e != nil {
			got = e.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s beside %s: %q, want %q", c.b, c.a, got, c.want)
		}
	}
}
