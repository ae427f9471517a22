package docs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// typed are command lines with the key Tab in them, and what the shell makes of each.
var typed = []struct{ keys, want string }{
	{"vublk ser\t", "serve"},
	{"vublk serve --socket-p\tx", "serve --socket-path x"},
	{"vublk serve --cache=writet\t", "serve --cache=writethrough"},
	{"vublk serve --flush-error=re\t", "serve --flush-error=retry"},
	{"vublk serve --blk-file=some-im\t", "serve --blk-file=some-image.raw"},
	{"vublk daemon --state-dir=some-dir\t", "daemon --state-dir=some-directory"},
	{"vublk bench --rw randr\tw", "bench --rw randrw"},
	{"vublk create some-im\t 20\t", "create some-image.raw 20GiB"},
}

// shim notes in the file out what vublk was called with. Completion asks the real one. zsh takes the slash from a directory
// again when the line ends.
const shim = `vublk() { case $1 in __complete*) command vublk "$@" ;; *) echo "${*%/}" >>out ;; esac }`

// TestCompletion types into interactive shells, on a terminal of their own.
func TestCompletion(t *testing.T) {
	for name, c := range map[string]struct {
		argv  []string
		begin string
	}{
		"bash": {[]string{"bash", "--norc", "--noprofile", "-i"}, ". /usr/share/bash-completion/bash_completion; . <(vublk completion bash)"},
		"zsh":  {[]string{"zsh", "-f", "-i"}, "autoload -U compinit; compinit -u -D; . <(vublk completion zsh); compdef _vublk vublk"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := completionDir(t)
			tty := start(t, dir, c.argv...)
			tty.line(c.begin + "; " + shim + "; echo ready >>out")
			tty.await(filepath.Join(dir, "out"), "ready\n")
			want := "ready\n"
			for _, line := range typed {
				tty.line(line.keys)
				want += line.want + "\n"
				tty.await(filepath.Join(dir, "out"), want)
			}
			tty.line("exit")
		})
	}
}

// fish tells without a terminal what it would complete.
func TestCompletionOfFish(t *testing.T) {
	dir := completionDir(t)
	for _, line := range typed {
		keys, _, _ := strings.Cut(line.keys, "\t")
		words := strings.Fields(line.want)
		want := words[min(len(strings.Fields(keys))-2, len(words)-1)]
		cmd := exec.Command("fish", "--no-config", "-c", "vublk completion fish | source; complete -C "+quoted(keys))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path(dir), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		found := false
		for offer := range strings.Lines(string(out)) {
			offer, _, _ = strings.Cut(strings.TrimSpace(offer), "\t")
			found = found || strings.TrimSuffix(offer, "/") == want || strings.HasSuffix(offer, "=") && strings.HasPrefix(want, offer)
		}
		if err != nil || !found {
			t.Errorf("%s: %v, want %s among:\n%s", keys, err, want, out)
		}
	}
}

// completionDir is where the shells are.
func completionDir(t *testing.T) string {
	t.Helper()
	dir := scratch(t)
	must(t, os.WriteFile(filepath.Join(dir, "some-image.raw"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "some-directory"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "some-dirt"), nil, 0o644))
	return dir
}

// tty is an interactive shell on a terminal.
type tty struct {
	t      *testing.T
	outer  *os.File
	shown  strings.Builder
	copied chan struct{}
}

func start(t *testing.T, dir string, argv ...string) *tty {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(outer.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(outer.Fd()), unix.TIOCGPTN)
	must(t, err)
	inner, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path(dir), "HOME="+dir, "TERM=dumb", "HISTFILE=", "PS1=> ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inner, inner, inner
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	must(t, inner.Close())
	s := &tty{t: t, outer: outer, copied: make(chan struct{})}
	go func() {
		defer close(s.copied)
		_, _ = io.Copy(&s.shown, outer) // until the shell has ended: EIO
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-s.copied
		_ = outer.Close()
		if t.Failed() {
			t.Logf("the terminal:\n%s", s.shown.String())
		}
	})
	return s
}

// line types one.
func (s *tty) line(keys string) {
	s.t.Helper()
	_, err := io.WriteString(s.outer, keys+"\r")
	must(s.t, err)
}

// shellTime is how long a shell may take for one line.
const shellTime = 20 * time.Second

// await waits until the file has this text.
func (s *tty) await(file, want string) {
	s.t.Helper()
	for deadline := time.Now().Add(shellTime); ; time.Sleep(10 * time.Millisecond) {
		have, _ := os.ReadFile(file)
		switch {
		case string(have) == want:
			return
		case len(have) >= len(want), time.Now().After(deadline):
			s.t.Fatalf("the shell has called vublk with:\n%swant:\n%s", have, want)
		}
	}
}
