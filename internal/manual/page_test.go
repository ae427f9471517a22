package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vublk/vublk/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// Nothing that a text may have in it is taken for troff's.
func TestTextMeansItself(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a-b", `a\-b`},
		{`C:\n`, `C:\en`},
		{"~ ^ ` ' \"", `\(ti \(ha \(ga \(aq \(dq`},
		{"1…", `1\[u2026]`},
		{"write --read-only, not ---x", `write \fB\-\-read\-only\fR, not \-\-\-x`},
		{".B at the beginning", `\&.B at the beginning`},
		{"'B at the beginning", `\(aqB at the beginning`},
	} {
		var r roff
		r.fill(c.text)
		if got := strings.TrimSuffix(r.b.String(), "\n"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	var r roff
	r.text("One\ntwo.\n  as it  is\nAnd on.\n\nTERM\n: What it\nmeans.", true)
	want := "One two.\n.RS \"4\"\n.nf\nas it  is\n.fi\n.RE\n.PP\nAnd on.\n.TP\n\\fBTERM\\fR\nWhat it means.\n"
	if got := r.b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	page := Page{Command: &cobra.Command{Use: "tool", Short: "Do it", Long: "Does it.", Example: "  tool", Run: func(*cobra.Command, []string) {}}, Section: 1}
	if err := Check(dir, []Page{page}); err == nil || !strings.Contains(err.Error(), "make man") {
		t.Error("a page that is missing:", err)
	}
	t.Setenv(Variable, "yes")
	if err := Check(dir, []Page{page}); err != nil {
		t.Fatal(err)
	}
	t.Setenv(Variable, "")
	if err := Check(dir, []Page{page}); err != nil {
		t.Error("a page that was just written:", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "written"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "written", "tool.txt"), []byte("# FILES\nx\n: y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir, []Page{page}); err == nil {
		t.Error("what is written has changed, and nothing was said")
	}
}
