package frontends

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandTime is how long one command of a page may take.
const commandTime = 2 * time.Minute

// shell is one that stays: what is typed into it finds the umask, the directory and the background jobs of before.
type shell struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *os.File
	buf *bufio.Reader
}

// newShell starts a shell in dir. At the test's end it is killed; what it has left in the background has to be ended before.
func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	theirIn, in, err := os.Pipe()
	must(t, err)
	out, theirOut, err := os.Pipe()
	must(t, err)
	s := &shell{t: t, cmd: exec.Command("sh"), in: in, out: out, buf: bufio.NewReader(out)}
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = dir, theirIn, theirOut, theirOut
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, s.cmd.Start())
	must(t, theirIn.Close())
	must(t, theirOut.Close())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		_, _ = s.in.Close(), s.out.Close()
	})
	return s
}

// done is what the shell says after each command, with its status.
const done = "@done "

// run types a command and returns what it printed.
func (s *shell) run(command string) (output string, status int) {
	s.t.Helper()
	_, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null\nprintf '\\n%s%%d\\n' $?\n", command, done)
	must(s.t, err)
	must(s.t, s.out.SetReadDeadline(time.Now().Add(commandTime)))
	var lines strings.Builder
	for {
		line, err := s.buf.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v, after:\n%s%s", command, err, lines.String(), line)
		}
		if text, ok := strings.CutPrefix(line, done); ok {
			status, err = strconv.Atoi(strings.TrimSpace(text))
			must(s.t, err)
			return strings.Trim(lines.String(), "\n"), status
		}
		lines.WriteString(line)
	}
}
