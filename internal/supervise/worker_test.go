package supervise_test

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/vublk/vublk/internal/leaktest"
	"github.com/vublk/vublk/internal/resume"
	"github.com/vublk/vublk/internal/sys"
)

// livesVariable names the file with what workers do, a line for each, and diary where they write what they see.
const (
	livesVariable = "VUBLK_TEST_LIVES"
	diaryVariable = "VUBLK_TEST_DIARY"
)

// TestMain runs the tests, or is a worker of one of them.
func TestMain(m *testing.M) {
	if path := os.Getenv(livesVariable); path != "" && os.Getenv(resume.SupervisorVariable) != "" {
		if err := live(path); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(99)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

// live does what the first line of the file says, and takes it out.
func live(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line, others, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(path, []byte(others), 0o600); err != nil {
		return err
	}
	if rest, slow := strings.CutPrefix(line, "slow "); slow { // a program that takes its time to begin, deaf meanwhile
		line = rest
		time.Sleep(100 * time.Millisecond)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	sock, err := strconv.Atoi(os.Getenv(resume.SupervisorVariable))
	if err != nil {
		return err
	}
	h, err := resume.Connect()
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(line) {
		if err := do(h, sock, word, stop); err != nil {
			return errors.Wrap(err, word)
		}
	}
	return nil
}

func do(h *resume.Holder, sock int, word string, stop <-chan os.Signal) error {
	what, value, _ := strings.Cut(word, ":")
	switch what {
	case "inherit":
		if err := h.Notify(resume.FieldStandby + "=1"); err != nil {
			return err
		}
		kept, err := h.Inherited()
		if err != nil {
			return err
		}
		var names []string
		for name := range kept {
			names = append(names, name)
		}
		slices.Sort(names)
		return note("kept " + strings.Join(names, ","))
	case "store":
		fd, err := sys.EventFD()
		if err != nil {
			return err
		}
		return h.Store(value, fd.Int())
	case "listen": // a socket with a name, which is not removed when the worker ends
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: value, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		if err != nil {
			return err
		}
		return h.Store("listen", int(f.Fd()))
	case "remove":
		return h.Remove(value)
	case "ready":
		return h.Notify(resume.FieldReady + "=1")
	case "garble": // a message that no supervisor can take whole
		if err := unix.Sendmsg(sock, make([]byte, 100_000), nil, nil, 0); err != nil {
			return err
		}
		return note(fmt.Sprint("heard ", h.AwaitHandOver() == nil))
	case "await":
		handOver := make(chan error, 1)
		go func() { handOver <- h.AwaitHandOver() }()
		select {
		case <-stop:
			return note("stopped")
		case err := <-handOver:
			if err == nil {
				err = note("handed over")
			}
			return err
		}
	case "stop": // whatever the supervisor says
		<-stop
		return note("stopped")
	case "deaf":
		for range stop {
			if err := note("told to stop"); err != nil {
				return err
			}
		}
	case "gate": // is open when there is a file
		for _, err := os.Stat(value); err != nil; _, err = os.Stat(value) {
			time.Sleep(time.Millisecond)
		}
		return nil
	case "die":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "program": // that this is
		path, err := os.Readlink("/proc/self/exe")
		if err != nil {
			return err
		}
		return note("program " + filepath.Base(path))
	case "exit":
		n, _ := strconv.Atoi(value)
		os.Exit(n)
	}
	return errors.New("nobody knows how")
}

// note writes a line into the diary.
func note(line string) error {
	f, err := os.OpenFile(os.Getenv(diaryVariable), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	_ = f.Close()
	return err
}
