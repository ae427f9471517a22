package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/test/e2e/guest"
)

// lab is what all tests share and none changes.
var lab struct {
	repo, vublk, other string
}

func TestMain(m *testing.M) {
	leaktest.MainAfter(m, func() (err error) {
		if lab.repo, err = guest.Setup(); err != nil {
			return err
		}
		if lab.other, err = guest.BuildHere("vhost-user-blk", "./cmd/vhost-user-blk"); err != nil {
			return err
		}
		lab.vublk, err = guest.BuildVublk()
		return err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// isCommands tells whether a block is one of commands; a block that is something else must be known to be.
func isCommands(t *testing.T, b block) bool {
	t.Helper()
	if languages[b.language] != "" {
		return false
	}
	for begin := range notCommands {
		page, words, _ := strings.Cut(begin, " ")
		if page == b.page && strings.HasPrefix(strings.TrimSpace(b.text), words) {
			return false
		}
	}
	switch b.language {
	case "", "sh", "console":
		return true
	}
	t.Errorf("%s:%d: a block of %q: commands are indented or in a fence of sh or console; see rules_test.go", b.page, b.line, b.language)
	return false
}

// TestEveryCommandHasARule: a command that nobody has tried gets into no page.
func TestEveryCommandHasARule(t *testing.T) {
	needed := map[int]bool{}
	found := map[string]bool{}
	for _, page := range pages(t) {
		for _, b := range blocks(page, read(t, page)) {
			for begin := range notCommands {
				p, words, _ := strings.Cut(begin, " ")
				found[begin] = found[begin] || p == page && strings.HasPrefix(strings.TrimSpace(b.text), words)
			}
			found[b.language] = true
			if !isCommands(t, b) {
				continue
			}
			for _, command := range b.commands() {
				n := find(page, command)
				if n < 0 {
					t.Errorf("%s:%d: nobody knows how to run this: add a rule to test/docs/rules_test.go:\n\t%s", page, b.line, command)
				}
				needed[n] = true
			}
		}
	}
	for n, r := range rules {
		if !needed[n] {
			t.Errorf("no page has a command for the rule %s %s", r.page, r.command)
		}
		if r.test != "" {
			dir, name, _ := strings.Cut(r.test, " ")
			checkTestExists(t, dir, name)
		}
	}
	for begin := range notCommands {
		if !found[begin] {
			t.Errorf("no page has the block %q", begin)
		}
	}
	for language := range languages {
		if !found[language] {
			t.Errorf("no page has a block of %q", language)
		}
	}
}

func checkTestExists(t *testing.T, dir, name string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(lab.repo, dir, "*_test.go"))
	must(t, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		must(t, err)
		if bytes.Contains(text, []byte("func "+name+"(t *testing.T)")) {
			return
		}
	}
	t.Errorf("%s has no %s", dir, name)
}

// TestCommands types the pages' commands.
func TestCommands(t *testing.T) {
	typed := 0
	for _, page := range pages(t) {
		var script strings.Builder
		for _, b := range blocks(page, read(t, page)) {
			if !isCommands(t, b) {
				continue
			}
			for _, command := range b.commands() {
				n := find(page, command)
				if n < 0 || rules[n].shell == "" {
					continue
				}
				typed++
				fmt.Fprintf(&script, "echo %s >&2\n%s\n", quoted(fmt.Sprintf("%s:%d: %s", page, b.line, command)), rules[n].script(command))
			}
		}
		if script.Len() > 0 {
			t.Run(page, func(t *testing.T) { inRoom(t, script.String()+"stop\n") })
		}
	}
	if typed < 12 {
		t.Errorf("only %d commands typed", typed)
	}
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// pageTime is how long all commands of one page may take.
const pageTime = 5 * time.Minute

// inRoom runs a script, in a directory that has bin/vublk, with the programs in the PATH.
func inRoom(t *testing.T, script string) {
	t.Helper()
	dir := scratch(t)
	prelude, err := os.ReadFile("prelude.sh")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "script"), append(prelude, script...), 0o644))
	here, err := os.Getwd()
	must(t, err)
	argv := []string{
		"unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc", "--net",
		filepath.Join(here, "room.sh"), "bash", "script",
	}
	if os.Geteuid() != 0 {
		argv = append([]string{"sudo", "-n", "--preserve-env", "env", "PATH=" + path(dir)}, argv...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path(dir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v, after:\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

func path(dir string) string {
	return filepath.Join(dir, "bin") + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
}

// scratch makes a directory on a disk, with a short name, for Unix sockets live in it.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(lab.repo, "build"), "docs-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	for name, file := range map[string]string{"vublk": lab.vublk, "vhost-user-blk": lab.other} {
		must(t, os.Symlink(file, filepath.Join(dir, "bin", name)))
	}
	return dir
}

// TestBuild is what `make build` does, but for the place of the result.
func TestBuild(t *testing.T) {
	out, err := exec.Command("make", "-C", lab.repo, "-n", "build").CombinedOutput()
	must(t, err)
	if !regexp.MustCompile(`go build .*-o bin/`).Match(out) {
		t.Errorf("make build does not build bin/vublk:\n%s", out)
	}
}

// TestDemo is what a new user types first.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "make", "-C", lab.repo, "demo").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nOK\n")) {
		t.Fatalf("%v, after:\n%s", err, out)
	}
	t.Logf("%s", out)
}
