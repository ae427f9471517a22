package docs

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestManPages has the two programs that people read man pages with look for mistakes.
func TestManPages(t *testing.T) {
	list, err := filepath.Glob(filepath.Join(lab.repo, "packaging", "man", "*.[18]"))
	must(t, err)
	if len(list) < 8 {
		t.Fatalf("only %d pages: %v", len(list), list)
	}
	for _, path := range list {
		for _, tool := range [][]string{
			{"mandoc", "-T", "lint", "-W", "all"},
			{"env", "LC_ALL=C.UTF-8", "MANWIDTH=80", "MANROFFSEQ=", "man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"},
		} {
			cmd := exec.Command(tool[0], append(tool[1:], path)...)
			var complaints strings.Builder
			cmd.Stderr = &complaints
			answer, err := cmd.Output()
			if tool[0] == "mandoc" {
				complaints.Write(answer)
			}
			if err != nil || complaints.Len() > 0 {
				t.Errorf("%s %s: %v\n%s", tool[0], filepath.Base(path), err, complaints.String())
			}
		}
	}
}

// TestManPagesRefer: a page of ours that another one refers to exists.
func TestManPagesRefer(t *testing.T) {
	list, err := filepath.Glob(filepath.Join(lab.repo, "packaging", "man", "*.[18]"))
	must(t, err)
	have := map[string]bool{}
	for _, path := range list {
		have[filepath.Base(path)] = true
	}
	for _, path := range list {
		page, err := filepath.Rel(lab.repo, path)
		must(t, err)
		_, also, _ := strings.Cut(read(t, page), `.SH "SEE ALSO"`)
		for _, name := range strings.FieldsFunc(strings.ReplaceAll(also, `\-`, "-"), func(r rune) bool { return strings.ContainsRune(", \n", r) }) {
			file := strings.TrimSuffix(strings.Replace(name, "(", ".", 1), ")")
			if strings.HasPrefix(name, "vublk") && !have[file] {
				t.Errorf("%s refers to %s, which does not exist", page, name)
			}
		}
	}
}
